"""A setting that changes what happens in one simulated lane changes it in the other.

Each setting of an experiment is changed alone, and the run compared with that of the unchanged experiment. What a lane
cannot show is listed with its reason; a reason that no longer holds fails, and so does a setting that has no case.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.eventlog.writer import EventList
from resilience.experiment.costs import ModelCosts
from resilience.experiment.loader import parse
from resilience.experiment.spec import Cohort, Experiment, Hypothesis, PopulationSpec, Reference, Statistics
from resilience.experiment.virtual_conditions import VirtualConditions
from resilience.lab.recording import Recording
from resilience.lab.run import conduct
from resilience.lab.system import LaneDriver
from resilience.server.store import MEMORY, SqlStore
from sim.model.lane import ModelLane
from sim.virtual.lane import VirtualLane, collector_paused

PATH = Path(__file__).with_name("settings.toml")
TEXT = PATH.read_text(encoding="utf-8")
SEED = 3

TABLES: dict[str, type[msgspec.Struct]] = {
    "": Experiment,
    "server.": ServerConfig,
    "client.": ClientConfig,
    "quiz.": QuizConfig,
    "hypothesis.": Hypothesis,
    "cohorts.0.": Cohort,
    "costs.": ModelCosts,
    "population.": PopulationSpec,
    "virtual.": VirtualConditions,
    "statistics.": Statistics,
    "reference.": Reference,
}
PARTS = frozenset(name.partition(".")[0] for name in TABLES if name)
"""The fields of an experiment that are tables of their own here."""

ADAPTIVE = ("server.adaptive_heartbeat=true", "server.interval_floor=2.0", "server.grace_floor=4.0")
CLASSIC = ('client.preset="classic"',)
LONG_DRAIN = ("faults.2.duration=5",)
OFFLINE_ANSWERS = (
    "quiz.answer_share=1.0",
    "quiz.fastest=0.5",
    "quiz.slowest=0.95",
    'faults.0={kind="refuse", at=6.4, duration=2.0, times=2, every=9.0, cohorts=["a"]}',
)

REFUSED_FOR_LONG = 'faults.0={kind="refuse", at=5.5, duration=12.0, cohorts=["a"]}'
DRAINED_IN_A_HOLE = 'faults.1={kind="blackhole", at=21.5, duration=7.0, direction="down", cohorts=["b"]}'

CHANGES: dict[str, tuple[str, ...]] = {
    "name": ("another",),
    "duration": ("41.0",),
    "title": ("another",),
    "question": ("another",),
    "group": ("another",),
    "shows": ('["F1"]',),
    "seed": ("2",),
    "ramp": ("2.0",),
    "faults": ("[]",),
    "expectations": ('[{metric="success_rate", op=">=", threshold=0.5}]',),
    "server.heartbeat_interval": ("4.0",),
    "server.grace_period": ("7.0",),
    "server.cleanup_interval": ("30.0",),
    "server.join_capacity": ("2.0", *LONG_DRAIN),
    "server.presence_interval": ("1.0",),
    "server.flap_hidden": ("0.05",),
    "server.participants_cap": ("3",),
    "server.leaderboard_size": ("2",),
    "server.late_window": ("2.0", *OFFLINE_ANSWERS),
    "server.first_message_deadline": ("0.0004",),
    "server.strike_limit": ("1",),
    "server.max_message_bytes": ("90",),
    "server.write_buffer_bytes": ("200",),
    "server.send_buffer_bytes": ("4096",),
    "server.backlog": ("1",),
    "server.drain_window": ("3.0", *LONG_DRAIN),
    "server.max_return_spread": ("0.5", "server.join_capacity=2.0", *LONG_DRAIN),
    "server.restart_pause": ("3.0",),
    "server.adaptive_heartbeat": ("true", *ADAPTIVE[1:]),
    "server.interval_floor": ("3.0", *ADAPTIVE),
    "server.grace_floor": ("5.0", *ADAPTIVE),
    "server.checkpoint_interval": ("5.0", "costs.commit=0.9"),
    "server.admission_seconds": ("0.1", "server.join_capacity=5"),
    "server.max_connections": ("3",),
    "server.max_participants": ("3",),
    "server.max_events": ("1",),
    "server.message_rate": ("0.5", "server.message_burst=2"),
    "server.message_burst": ("2", "server.message_rate=0.5"),
    "server.address_message_rate": ("0.5", "server.address_message_burst=2"),
    "server.address_message_burst": ("2", "server.address_message_rate=0.5"),
    "server.address_rate": ("0.1", "server.address_burst=1"),
    "server.address_burst": ("1", "server.address_rate=0.1"),
    "server.address_failures": ("1.0",),
    "server.address_page_rate": ("0.1", "server.address_page_burst=1"),
    "server.address_page_burst": ("1", "server.address_page_rate=0.1"),
    "server.allowed_origins": ('["https://quiz.example"]',),
    "server.trust_forwarded": ("true",),
    "client.preset": ('"classic"',),
    "client.attempts": ("2",),
    "client.initial": ("0.5", *CLASSIC),
    "client.maximum": ("3.0", *CLASSIC, REFUSED_FOR_LONG),
    "client.multiplier": ("3.0", *CLASSIC),
    "client.jitter": ('"full"',),
    "client.budget": ("2.0",),
    "client.stable_after": ("60.0",),
    "client.probe_after": ("2.0",),
    "client.probe_deadline": ("1.0",),
    "client.open_timeout": ("1.0",),
    "client.join_timeout": ("0.0005",),
    "quiz.questions": ("2",),
    "quiz.lobby": ("1.0",),
    "quiz.question_time": ("4.0",),
    "quiz.reveal_time": ("3.0",),
    "quiz.leaderboard_time": ("3.0",),
    "quiz.answer_share": ("0.3",),
    "quiz.fastest": ("0.5",),
    "quiz.slowest": ("0.6",),
    "hypothesis.joined": ("1.0", "server.max_connections=3"),
    "hypothesis.within": ("2.0",),
    "cohorts.0.name": ("a",),
    "cohorts.0.clients": ("4",),
    "costs.latency": ("0.002",),
    "costs.connect": ("0.002",),
    "costs.relay": ("0.002",),
    "costs.handshake": ("0.002",),
    "costs.join": ("0.002",),
    "costs.restore": ("0.002",),
    "costs.detach": ("0.002",),
    "costs.commit_wait": ("0.01", "costs.shared_processors=1", "costs.handshake=0.3"),
    "costs.reply": ("0.002",),
    "costs.client_loss": ("0.002",),
    "costs.client_dial": ("0.002",),
    "costs.client_message": ("0.002",),
    "costs.shared_processors": ("1", "costs.client_dial=0.2"),
    "costs.client_processes": ("1", "costs.client_dial=0.2"),
    "costs.message": ("0.002",),
    "costs.commit": ("0.02",),
    "costs.startup": ("1.2",),
    "costs.close_timeout": ("2.0", DRAINED_IN_A_HOLE),
    "costs.timer": ("0.01",),
    "costs.injection": ("0.01",),
    "costs.injection_call": ("0.01",),
    "costs.healing": ("0.01",),
    "costs.kill": ("0.01", 'faults.2={kind="server_kill", at=22.0, duration=3.0}'),
    "costs.processors": ("2", "costs.handshake=0.3"),
    "costs.service": ("exponential",),
    "costs.service_sigma": ("0.5", "costs.service=lognormal"),
    "costs.backlog": ("1", "costs.handshake=0.3"),
    "costs.wasted_work": ("false", "costs.handshake=0.5", "client.open_timeout=0.6", "hypothesis.joined=0.0"),
    "virtual.latency": ("0.002",),
    "virtual.latency_spread": ("0.002",),
    "virtual.packet_stalls": ("0.05",),
    "virtual.storage": ("0.02",),
    "virtual.storage_spread": ("0.02",),
    "virtual.storage_stalls": ("0.5",),
    "virtual.storage_share": ("0.5",),
    "virtual.stall": ("0.1", "virtual.packet_stalls=0.05"),
    "virtual.shuffled": ("true",),
    "population.servers": ("1",),
    "population.latency": ("0.1",),
    "statistics.deadline": ("10.0",),
    "statistics.correlation": ("0.1",),
    "reference.storms": ("3",),
}
"""By setting: the changed value, and what else both experiments need for it to matter."""

_READER = "only readers and reports use it"
_ONE_CASE = "it can have no other value in these lanes"
_SOCKETS = "no lane on a clock of its own has the operating system's queues and buffers"
UNMOVED = {
    **dict.fromkeys(("name", "title", "question", "group", "shows", "expectations"), _READER),
    **dict.fromkeys(("statistics.deadline", "statistics.correlation"), _READER),
    "seed": "it is the seed that the run is given which counts",
    "cohorts.0.name": "a name is part of every draw and record",
    "server.strike_limit": "no participant sends what cannot be read",
    "server.write_buffer_bytes": "no fault of both lanes makes a reader slow: bandwidth needs bytes",
    "server.send_buffer_bytes": _SOCKETS,
    "server.backlog": _SOCKETS,
    "server.max_events": "a run has one event",
    "server.address_failures": "no participant shows a wrong credential",
    "server.allowed_origins": "no participant comes from a web page",
    "server.trust_forwarded": "no proxy in front adds the header",
    "population.servers": _ONE_CASE,
    "population.latency": "only the population lane reads it",
    "reference.storms": "only the real lane takes time for it",
}
"""What moves neither lane, and why."""

MODEL_ONLY = "the virtual lane runs the server itself: its processor takes no time there"
MOVE_THE_MODEL_ALONE = {key: MODEL_ONLY for key in CHANGES if key.startswith("costs.")}
VIRTUAL_ONLY = "it says how the network and the storage of the virtual lane behave"
_PAGES = "the canary of the server asks for a page of the real one; in the model it asks the model"
MOVE_THE_VIRTUAL_LANE_ALONE = {
    "server.address_page_rate": _PAGES,
    "server.address_page_burst": _PAGES,
    **{key: VIRTUAL_ONLY for key in CHANGES if key.startswith("virtual.")},
}
REFUSED = {"target", "driver", "drivers", "cohorts.0.driver", "cohorts.0.leaves_at", "cohorts.0.profiles"}
"""What the lane refuses that cannot carry it out (``Experiment.obstacle``)."""


@pytest.fixture(scope="module", autouse=True)
def without_collector() -> Iterator[None]:
    """A collection before each of so many short runs would take longer than the runs."""
    with collector_paused():
        yield


@functools.cache
def store() -> SqlStore:
    """One database for all virtual runs."""
    return SqlStore(MEMORY)


@functools.cache
def digest(lane: str, overrides: tuple[str, ...]) -> str:
    """The SHA-256 of everything that a run leaves behind."""
    driver: LaneDriver = ModelLane() if lane == "model" else VirtualLane(store=store())
    recording = Recording.in_memory()
    outcome = conduct(driver, parse(TEXT, str(PATH), overrides), SEED, recording)
    assert isinstance(recording.events, EventList)
    left = [outcome, list(recording.events), recording.observations, recording.stored]
    return hashlib.sha256(msgspec.json.encode(left)).hexdigest()


def settings() -> list[str]:
    """Every setting of an experiment that both lanes take."""
    named = [f"{table}{field.name}" for table, kind in TABLES.items() for field in msgspec.structs.fields(kind)]
    return [name for name in named if name not in PARTS | REFUSED]


@pytest.mark.parametrize("setting", settings())
def test_a_setting_moves_both_lanes_or_none(setting: str) -> None:
    value, *needed = CHANGES[setting]
    base = tuple(needed)
    changed = (*base, f"{setting}={value}")
    moved = {lane: digest(lane, base) != digest(lane, changed) for lane in ("virtual", "model")}
    assert moved == {
        "virtual": setting not in UNMOVED and setting not in MOVE_THE_MODEL_ALONE,
        "model": setting not in UNMOVED and setting not in MOVE_THE_VIRTUAL_LANE_ALONE,
    }


def test_every_case_and_every_reason_is_about_a_setting() -> None:
    known = set(settings())
    assert set(CHANGES) == known
    assert known >= {*UNMOVED, *MOVE_THE_MODEL_ALONE, *MOVE_THE_VIRTUAL_LANE_ALONE}
