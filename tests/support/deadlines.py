"""How long tests wait for real processes and sockets. A deadline bounds a hang; it never measures anything."""

from __future__ import annotations

from resilience.units import Seconds

HANG_S: Seconds = 120.0
"""After this long, something that must happen is taken to hang: far beyond what a slow and busy machine needs."""
