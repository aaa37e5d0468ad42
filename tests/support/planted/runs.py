"""The experiment under which every planted defect shows, run in a lane and judged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from chaos.real_lane import RealLane
from chaos.targets.quiz import QuizTarget
from chaos.toxiproxy.provision import Binary
from chaos.workers import Worker
from reports.frames import RunHistory, load_history
from reports.invariants import run_checks
from resilience.eventlog.vocabulary import Verdict
from resilience.eventlog.writer import EventList
from resilience.experiment.loader import load_file
from resilience.experiment.spec import Experiment
from resilience.lab.recording import Recording
from resilience.lab.run import conduct, execute, opening_info
from resilience.lab.run_directory import RunStatus
from resilience.lab.system import LaneDriver
from sim.virtual.lane import VirtualLane

from ..prompt_runs import prompt_run
from . import DEFECTS, clients, planting

EXPERIMENTS = {name: load_file(Path(__file__).with_name(f"{name}.toml")) for name in (planting.PLANTED, planting.TABS)}
"""``planted``: 23 s with fourteen clients: a cut, a refusal, silence beyond the grace period, a restart of the server.

``tabs``: 16 s with six clients: second tabs, a cut, replayed tokens.
"""

PLANTED, TABS = EXPERIMENTS[planting.PLANTED], EXPERIMENTS[planting.TABS]


_ROOT = Path(__file__).resolve().parents[3]


def in_memory(driver: LaneDriver, seed: int, experiment: Experiment = PLANTED) -> RunHistory:
    """The history of one run in a lane of one process."""
    recording = Recording.in_memory()
    outcome = conduct(driver, experiment, seed, recording)
    assert outcome.status is RunStatus.COMPLETED, outcome.cause
    assert isinstance(recording.events, EventList)
    info = msgspec.structs.replace(opening_info(driver.lane, experiment, seed), status=outcome.status, cause=None)
    events = sorted(recording.events, key=lambda event: event.t)
    return RunHistory(info, experiment, events, recording.observations, recording.stored)


def virtual(seed: int, experiment: Experiment = PLANTED) -> RunHistory:
    """The history of one run in virtual time."""
    return in_memory(VirtualLane(), seed, experiment)


def real(seed: int, binary: Binary, folder: Path, experiment: Experiment = PLANTED) -> RunHistory:
    """The history of one run over real processes and sockets, in a directory in ``folder``."""
    lane = RealLane(toxiproxy=binary.path, workers=2)
    outcome, run_dir = prompt_run(lambda where: execute(lane, experiment, seed, where), folder)
    assert outcome.status is RunStatus.COMPLETED, outcome.cause
    return load_history(run_dir)


def run_with(names: Sequence[str], patched: pytest.MonkeyPatch) -> None:
    """Have the real lane start its server, and its processes of clients, with these defects."""
    of_clients = [name for name in names if DEFECTS[name] in clients.DEFECTS]
    of_server = [name for name in names if name not in of_clients]
    patched.setenv("PYTHONPATH", str(_ROOT))
    if of_server:
        sound_server = QuizTarget._command
        patched.setattr(QuizTarget, "_command", lambda *words, **more: planted(sound_server(*words, **more), of_server))
    if of_clients:
        command = planted(Worker._command(), of_clients)
        patched.setattr(Worker, "_command", lambda: command)


def planted(command: Sequence[str], names: Sequence[str]) -> list[str]:
    """``python -m MODULE ...`` with defects in its process."""
    at = command.index("-m") + 1
    return [*command[:at], "tests.support.planted.program", ",".join(names), *command[at:]]


def complaints(history: RunHistory) -> dict[str, str]:
    """Every check of clients and database that did not pass, with its finding."""
    judged = run_checks(history)
    return {item.name: item.detail for item in judged if item.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE)}
