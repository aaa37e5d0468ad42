"""Toxiproxy: find or build it, supervise it, control it.

``provision`` finds the server's binary, ``process`` runs one server per cohort, ``client`` calls its control API with
the values of ``toxics`` through ``consumer`` (the only file that uses ``toxiproxy-python``). Nothing here knows of
experiments, fleets or event logs.
"""
