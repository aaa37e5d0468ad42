"""An experiment whose one fault lasts until a test ends its run; it does not ask for clients that have joined."""

from __future__ import annotations

LONG_REFUSAL = """
name = "long"
duration = 600.0
ramp = 0.2

[[cohorts]]
name = "alpha"
clients = 2

[[cohorts]]
name = "beta"
clients = 1

[hypothesis]
joined = 0.0
within = 2.0

[[faults]]
kind = "refuse"
at = 2.1
duration = 500.0
cohorts = ["alpha", "beta"]
"""
