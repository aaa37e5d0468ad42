"""A live-quiz WebSocket server that survives bad networks, its clients, and the vocabulary its laboratory shares.

Reading order: ``units``, ``errors``, ``eventlog.vocabulary`` (the words), ``policy`` (when to retry, when to call a
peer dead), ``quiz`` (the game), ``protocol`` (messages and the two machines), ``experiment`` (what a run is), then
``runtime``, ``server`` and ``client``, which only carry out what the pure rooms decide.
"""

__version__ = "0.1.0"
