"""Network profiles: how links fail, as data; and the outage timelines that are drawn from them, or read from a trace.

Reading order: ``timelines`` (what an outage is, as arrays), ``profile`` (what a profile says), ``sampler`` (from one to
the other).
"""

from __future__ import annotations

from .timelines import Outage, OutageKind, OutageTimelines

__all__ = ["Outage", "OutageKind", "OutageTimelines"]
