"""Claims about speed and memory, each a ratio against a named peer in the same run; `make bench` measures them all."""
