"""One campaign as a directory: what was asked for, how it ended, and the event logs. Judges nothing."""

from __future__ import annotations

import asyncio
import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import msgspec

from chaos.limits import files_needed, raise_open_files
from chaos.signals import interruptible
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.loader import to_toml
from resilience.lab.run_directory import RunInfo, RunStatus, write_run_info

from .campaign import Campaign, Rounds, Say
from .plan import CrashPlan, experiment


async def run(plan: CrashPlan, run_dir: Path, say: Say) -> Campaign | None:
    """Carry it out in ``run_dir``, empty or absent; ``None`` when a signal ended it. From the main thread only.

    Raises HarnessError when the laboratory failed. Nothing is left running either way.
    """
    (run_dir / "events").mkdir(parents=True, exist_ok=True)
    world = experiment(plan)
    (run_dir / "experiment.toml").write_text(to_toml(world), encoding="utf-8")
    info, began = _opening(plan), time.monotonic()
    write_run_info(run_dir, info)
    raise_open_files(files_needed(world))
    ended = RunStatus.HARNESS_FAILED
    try:
        campaign = await _interruptible(Rounds(plan, run_dir, say))
        ended = RunStatus.COMPLETED if campaign else RunStatus.INTERRUPTED
    finally:
        wall_s = time.monotonic() - began
        cause = None if ended == RunStatus.COMPLETED else ended.replace("_", " ")
        write_run_info(run_dir, msgspec.structs.replace(info, status=ended, cause=cause, wall_s=wall_s))
    return campaign


async def _interruptible(rounds: Rounds) -> Campaign | None:
    with interruptible() as signals:
        try:
            return await rounds.run(signals)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if signals.by is None or task is None:
                raise
            task.uncancel()
            return None


def _opening(plan: CrashPlan) -> RunInfo:
    world = experiment(plan)
    python = ".".join(str(part) for part in sys.version_info[:3])
    return RunInfo(
        experiment=world.name,
        experiment_digest=world.digest,
        lane=Lane.REAL,
        seed=plan.seed,
        started_at=datetime.now(UTC).isoformat(timespec="seconds"),
        duration_s=world.duration,
        status=RunStatus.INTERRUPTED,
        cause="the campaign was interrupted",
        versions={"python": python, **{name: version(name) for name in ("quiz-resilience", "websockets")}},
    )
