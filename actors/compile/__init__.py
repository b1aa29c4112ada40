"""From a project's files, or a ready-made bundle, to the one script a guild's isolate runs."""
