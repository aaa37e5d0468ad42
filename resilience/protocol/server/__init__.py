"""The server's side of the protocol: one room per event and the parts it is made of. Pure.

``room`` one event: all sessions and the game; ``session`` one participant; ``identities`` and ``tokens`` who a
connection acts for; ``answers`` submissions until their commit; ``presence`` what players see of one another;
``snapshots`` and ``game_messages`` what clients are sent; ``host_commands`` the hosts; ``settings`` a room's settings.
"""
