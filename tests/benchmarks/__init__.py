"""Measurements, run by ``make bench``; every figure is a ratio taken within one run, since machines differ."""
