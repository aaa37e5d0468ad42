"""Pure decisions: numbers in, numbers out. Nothing here knows sockets, clocks, randomness or logging.

``backoff`` when to try again, ``window`` over how long a crowd returns, ``liveness`` when silence means death,
``retry`` which endings may be retried at all.
"""
