"""A live-quiz WebSocket server that survives bad networks, its clients, and what its laboratories share.

Reading order: ``units``, ``errors``, ``eventlog.vocabulary`` (what is recorded), ``policy`` (when to retry, when a peer
counts as dead), ``quiz`` (the game), ``protocol`` (messages and the machines of both sides), ``experiment`` (what a run
is), then ``runtime``, ``server`` and ``client``, which only carry out what the pure rooms decide.
"""

__version__ = "0.1.0"
