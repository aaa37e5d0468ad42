"""Makes a sweep's directory whose right answer is known. Holds no assertion.

The success rate is a function of the work per process: one while a process has at most 100,000 participants of the
trigger, and then it falls. So with the planned 1,000,000 participants ten processes are the fewest that hold.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd

from reports.sweep import (
    Assumption,
    Decision,
    Envelope,
    Load,
    Provenance,
    Sensitivity,
    StormCurve,
    Sweep,
    Target,
)
from resilience.experiment.spec import Op

PER_PROCESS = 100_000.0


def made_description(**changes: object) -> Sweep:
    """``sweep.json`` with these other values."""
    seconds = tuple(float(t) for t in range(0, 61, 2))
    back = tuple(float(min(1_000_000, 20_000 * t)) for t in seconds)
    sweep = Sweep(
        schema_version=1,
        question="How many server processes survive the loss of a whole region?",
        participants=1_000_000,
        target=Target(metric="success_rate", op=Op.AT_LEAST, threshold=0.98),
        decision=Decision(name="processes", unit="server processes"),
        load=Load(name="crowd", unit="participants at once", planned=1_000_000.0),
        settings={"admission_seconds": 2.0},
        stopping="half-width of the success rate at most 0.5 points, or 40 replications",
        seed=11,
        started_at="2025-01-01T00:00:00Z",
        command="resilience sim capacity region.toml --seed 11",
        versions={"quiz-resilience": "1.0"},
        assumptions=(
            Assumption(
                name="joins per second and process",
                value=4300.0,
                unit="/s",
                provenance=Provenance.MEASURED,
                source="docs/performance.md",
            ),
            Assumption(name="share of silent outages", value=0.6, provenance=Provenance.ASSUMED),
        ),
        sensitivities=(
            Sensitivity(name="joins per second and process", low=3000.0, high=6000.0, at_low=0.93, at_high=1.0),
            Sensitivity(name="share of silent outages", low=0.3, high=0.9, at_low=0.995, at_high=0.985),
        ),
        storm=StormCurve(
            decision=10.0,
            seconds=seconds,
            connected=back,
            joins_per_s=tuple(20_000.0 if t < 50 else 0.0 for t in seconds),
            queue_s=tuple(max(2.0 - t / 25, 0.0) for t in seconds),
            capacity_per_s=43_000.0,
        ),
        envelope=Envelope(
            calibrated_on=("12 real runs of the demo experiment with 300 participants",),
            ranges={"crowd": (100.0, 2_000_000.0), "processes": (1.0, 20.0)},
            does_not_hold=("several regions with a shared database",),
        ),
    )
    return msgspec.structs.replace(sweep, **changes)


def made_table(
    processes: Sequence[float] = (6, 8, 9, 10, 12, 16),
    crowds: Sequence[float] = (500_000, 1_000_000, 1_200_000, 1_600_000),
    replications: int = 8,
    noise: float = 0.004,
) -> pd.DataFrame:
    """``sweep.parquet``: every combination, and a second admission setting at which the answer would be another."""
    rng = np.random.default_rng(3)
    luck = rng.normal(0.0, noise, replications)  # common to all points
    rows = []
    for admission in (0.5, 2.0):
        for count in processes:
            for crowd in crowds:
                over = max(crowd / (count * PER_PROCESS) - (1.0 if admission > 1 else 0.5), 0.0)
                for replication in range(replications):
                    rate = float(np.clip(1.0 - 0.004 - 0.5 * over + luck[replication], 0.0, 1.0))
                    rows.append((admission, float(count), float(crowd), replication, rate))
    table = pd.DataFrame(rows, columns=["admission_seconds", "processes", "crowd", "replication", "success_rate"])
    point = table.groupby(["admission_seconds", "processes", "crowd"]).ngroup()
    affected = table["crowd"].astype("int64")
    restored = (table["success_rate"] * affected).round().astype("int64")
    return table.assign(point=point, restored=restored, affected=affected)


def write_sweep(sweep_dir: Path, sweep: Sweep | None = None, table: pd.DataFrame | None = None) -> Path:
    """The directory of a sweep."""
    sweep_dir.mkdir(parents=True, exist_ok=True)
    (sweep_dir / "sweep.json").write_bytes(msgspec.json.encode(sweep or made_description()))
    (made_table() if table is None else table).to_parquet(sweep_dir / "sweep.parquet", index=False)
    return sweep_dir
