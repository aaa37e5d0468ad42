"""Whether this machine can carry a run: what a planned fleet needs, what the machine has, and what to change.

``needs`` and ``fit`` decide and are pure; ``machine`` reads the machine's limits, ``examination`` the rest of it.
"""
