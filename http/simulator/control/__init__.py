"""What Discord does not have: routes under /sim/ by which tests, benchmarks and the page act as people."""
