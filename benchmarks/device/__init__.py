"""Sections of the benchmark of one GPU; each yields records and runs in a process of its own."""
