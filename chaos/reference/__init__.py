"""The reference of a run: bare clients of ``websockets`` and a bare server, cut through the run's own proxies."""
