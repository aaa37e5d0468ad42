"""The server's side of the protocol: one room per event and the parts it is made of. Pure.

``room`` is a facade over two halves. ``quiz_stream``: game, sequence numbers, phase timing, with ``answers``,
``host_commands``, ``game_messages`` and ``snapshots``. ``attendance``: participants, with ``session``, ``identities``,
``tokens``, ``presence`` and ``heartbeats``. ``pending_commits`` serves both; ``settings`` are a room's settings.
"""
