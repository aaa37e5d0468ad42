"""Toxiproxy: find or build it, supervise it, drive it, and judge the machine it runs on.

``provision`` finds the server's binary, ``process`` runs one server per cohort, ``client`` speaks its control API in
the values of ``toxics`` through ``consumer`` (the only file that touches ``toxiproxy-python``), ``doctor`` compares the
machine with the planned fleet. Nothing in here knows of experiments, fleets or event logs.
"""
