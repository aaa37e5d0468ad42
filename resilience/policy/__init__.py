"""Pure decisions: numbers in, numbers out. Nothing here knows sockets, clocks, randomness or logging.

``backoff``: when to try again. ``return_window``: over how long a herd returns. ``failure_detectors``: when silence
counts as a dead peer. ``close_codes``: which endings may be retried. ``handshake``: which
connections a server accepts, by ``admission`` and ``rate_limits``.
"""
