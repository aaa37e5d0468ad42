"""What a bad guest may do to a server over real sockets, and honest guests beside it: ``python -m tests.hostile``."""
