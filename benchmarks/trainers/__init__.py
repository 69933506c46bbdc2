"""Training engines side by side: each in a process of its own that takes a step when it is told to."""
