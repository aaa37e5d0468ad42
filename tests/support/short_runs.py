"""Runs that end before their last fault has healed for long, which no experiment file may ask for."""

from __future__ import annotations

import msgspec

from resilience.experiment.spec import Experiment


def ended_at(experiment: Experiment, duration: float) -> Experiment:
    """The experiment, but its run ends after ``duration`` seconds, as if its last fault had come late."""
    copy = msgspec.structs.replace(experiment)
    msgspec.structs.force_setattr(copy, "duration", duration)
    return copy
