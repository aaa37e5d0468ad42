"""The model lane: the production machines under SimPy, with modelled links, server costs and storage.

Reading order: ``clock`` (SimPy as this lane uses it), ``lab_clock`` (the laboratory's
coroutines in it), ``link`` (one link through its proxy), ``station`` and
``store`` (where work queues), ``server`` and
``client`` (drivers), ``canary``, ``lane``.
"""

from __future__ import annotations

from .lane import ModelLane

__all__ = ["ModelLane"]
