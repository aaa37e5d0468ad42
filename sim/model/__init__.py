"""The model lane: the production machines under SimPy, with modelled links, server costs and storage.

Reading order: ``costs`` (every number), ``clock`` (SimPy as this lane uses it), ``link`` (one cohort's way through its
proxy), ``station`` and ``store`` (where work queues), ``server`` and ``client`` (drivers), ``faults``, ``world``.
"""

from __future__ import annotations

from .costs import ModelCosts
from .world import ModelRun, simulate

__all__ = ["ModelCosts", "ModelRun", "simulate"]
