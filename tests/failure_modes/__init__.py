"""The ways in which real-time servers are known to fail, F1 to F37, each as a test with its invariant.

``docs/failure-modes.md`` is the table of them. Everything that an owned clock can prove runs in virtual time: the real
server, the real clients and the real ``websockets`` over a network in memory.
"""
