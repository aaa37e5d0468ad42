"""Pure decisions: numbers in, numbers out. Nothing here knows sockets, clocks, randomness or logging.

``backoff`` when to try again, ``return_window`` over how long a crowd returns, ``failure_detectors`` when silence means
death, ``close_codes`` which endings may be retried at all; ``handshake`` which connections a server accepts, by
``admission`` and ``rate_limits``.
"""
