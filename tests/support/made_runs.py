"""Makes measured runs of a system whose truth is known, without a log. Holds no assertion.

Nine events of three kinds strike the same number of participants each. Detection, excess and return are drawn with a
share ``correlation`` of their variance (of a normal score) common to the participants of an event.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats

from reports.comparison import ComparedRun
from reports.expectations import Evidence
from reports.measured import AnalysedRun
from resilience.eventlog.vocabulary import Verdict
from resilience.experiment.faults import CutFault, RefuseFault
from resilience.experiment.spec import Experiment, Statistics
from resilience.lab.run_directory import RunStatus

from .log_builder import experiment

EVENTS, KINDS = 9, 3
OUTAGE_S = (0.0, 3.0, 12.0)


def made_experiment() -> Experiment:
    """Three faults of each kind, far apart."""
    faults = tuple(
        CutFault(at=10.0 + 40.0 * i, cohorts=("alpha",))
        if not OUTAGE_S[i % KINDS]
        else RefuseFault(at=10.0 + 40.0 * i, cohorts=("alpha",), duration=OUTAGE_S[i % KINDS])
        for i in range(EVENTS)
    )
    return experiment(faults, duration=400.0, statistics=Statistics(correlation=0.05))


def made_run(
    rng: np.random.Generator,
    *,
    success: float = 0.97,
    slower: float = 1.0,
    correlation: float = 0.0,
    size: int = 100,
    seed: int = 1,
) -> AnalysedRun:
    """A run; its detection and excess are ``slower`` times as long as usual."""
    plan = made_experiment()
    windows = plan.windows(1)
    n = EVENTS * size
    event = np.repeat(np.arange(EVENTS), size)

    def score() -> NDArray[np.float64]:
        common = rng.normal(size=EVENTS)[event]
        return np.asarray(np.sqrt(correlation) * common + np.sqrt(1 - correlation) * rng.normal(size=n))

    back = stats.norm.cdf(score()) < success
    detection, excess = (slower * np.exp(scale * score()) * middle for scale, middle in ((0.4, 0.5), (0.6, 0.8)))
    outage = np.array(OUTAGE_S)[event % KINDS]
    downtime = np.maximum(detection, outage) + excess
    start = np.array([window.starts_at for window in windows])[event]
    episodes = pd.DataFrame(
        {
            "fault_id": _labels([window.fault_id for window in windows], event),
            "kind": _labels(["cut", "short", "long"], event % KINDS),
            "event": _labels([f"{i}.0" for i in range(EVENTS)], event),
            "stratum": _labels(["cut", "short", "long"], event % KINDS),
            "cohort": pd.Categorical(["alpha"] * n),
            "participant": _labels([f"p{i}" for i in range(size)], np.tile(np.arange(size), EVENTS)),
            "fault_at": start,
            "healed_at": start + outage,
            "restored_at": np.where(back, start + downtime, np.nan),
            "attempts": 1.0 + rng.poisson(slower, n),
            "detection_s": detection,
            "reconnection_s": downtime - detection,
            "downtime_s": downtime,
            "excess_s": downtime - outage,
            "affected": True,
            "returned": back,
            "never": ~back,
        }
    )
    evidence = Evidence(episodes, pd.DataFrame({"session_id": [], "value": []}), pd.DataFrame(), plan.statistics)
    return AnalysedRun(evidence, side=_side(plan, seed, n), experiment=plan)


def _labels(names: list[str], codes: NDArray[np.int64]) -> pd.Categorical:
    return pd.Categorical(np.array(names)[codes], categories=names)


def _side(plan: Experiment, seed: int, affected: int) -> ComparedRun:
    return ComparedRun(
        label=f"seed {seed}",
        experiment=plan.name,
        experiment_digest=plan.digest,
        lane="virtual",
        seed=seed,
        started_at="2025-01-01T00:00:00Z",
        status=RunStatus.COMPLETED,
        cause=None,
        verdict=Verdict.PASS,
        versions={},
        affected=affected,
        failures=(),
        doubts=(),
        checks=(),
    )
