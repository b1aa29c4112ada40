// Never gets through its own top level.
while (true) {}
