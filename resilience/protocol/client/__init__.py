"""The client's side of the protocol. Pure.

``connection``: the reconnecting connection that every client shares. ``participant``: takes part. ``host``: runs an
event.
"""
