"""The server's side of the protocol: its connections, and one room per event with the parts it is made of. Pure.

``connection`` is one WebSocket connection from its opening to its end, ``drain`` the closing of all at an orderly stop.
``room`` is a facade over two halves. ``quiz_stream``: game, sequence numbers, phase timing, with ``answers``,
``host_commands``, ``game_messages`` and ``snapshots``. ``attendance``: participants, with ``session``, ``identities``,
``tokens``, ``presence`` and ``heartbeats``. ``pending_commits`` serves both; ``settings`` are a room's settings.
"""
