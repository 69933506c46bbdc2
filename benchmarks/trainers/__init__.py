"""Training engines, each in a process of its own that takes a step on request."""
