"""Attacks on a server over real sockets while well-behaved clients use it: ``python -m tests.hostile``."""
