"""The question of a capacity plan: who takes part, what must be survived, what counts as survived. Values only.

Server processes share nothing, so the busiest one is simulated, with its participants and those that a trigger sends to
it. One process is lost before the trigger strikes, or by it: what is asked for includes the spare one.
"""

from __future__ import annotations

import math
from enum import StrEnum

import msgspec

from resilience.config import ClientConfig, ServerConfig
from resilience.errors import require
from resilience.experiment.costs import ModelCosts
from resilience.units import Seconds

MOST_PARTICIPANTS = 100_000_000
MOST_DOWNTIME_S: Seconds = 3600.0
MOST_CONNECTIONS = 100_000
MOST_PROCESSES = 10_000
_SHARES_ADD_UP = 1e-6


class TriggerKind(StrEnum):
    """What happens to the participants of a process at once."""

    ACCESS_POINT = "access_point"
    CARRIER = "carrier"
    SERVER_PROCESS = "server_process"
    REGION = "region"
    ROLLING_DEPLOY = "rolling_deploy"


DURATIONS: dict[TriggerKind, Seconds] = {
    TriggerKind.ACCESS_POINT: 45.0,
    TriggerKind.CARRIER: 30.0,
    TriggerKind.SERVER_PROCESS: 2.0,
    TriggerKind.REGION: 20.0,
    TriggerKind.ROLLING_DEPLOY: 10.0,
}
"""How long an outage lasts where the plan does not say: assumed, but for the median of an access point's restart."""


class Trigger(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One trigger. ``duration``: of its outage, seconds; the kind's own by default.

    ``participants``: of an access point, all at one process. ``share``: of a carrier among all participants.
    """

    kind: TriggerKind
    duration: Seconds | None = None
    participants: int = 200
    share: float = 0.3

    def __post_init__(self) -> None:
        """Check each rule once."""
        length = self.length
        require(0 < length <= MOST_DOWNTIME_S, "duration", length, f"must be above 0 and at most {MOST_DOWNTIME_S:g} s")
        require(self.participants >= 1, "participants", self.participants, "must be at least 1")
        require(0 < self.share <= 1, "share", self.share, "must be above 0 and at most 1")

    @property
    def length(self) -> Seconds:
        """How long the outage lasts."""
        return DURATIONS[self.kind] if self.duration is None else self.duration


class PlanTarget(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """At least the share ``back`` of those that lost their server is back ``longest_downtime`` seconds after it."""

    longest_downtime: Seconds
    back: float = 0.99
    confidence: float = 0.95

    def __post_init__(self) -> None:
        """Check each rule once."""
        longest = self.longest_downtime
        rule = f"must be above 0 and at most {MOST_DOWNTIME_S:g} s"
        require(0 < longest <= MOST_DOWNTIME_S, "longest_downtime", longest, rule)
        require(0 < self.back < 1, "back", self.back, "must be a share between 0 and 1")
        require(0.5 < self.confidence < 1, "confidence", self.confidence, "must be between 0.5 and 1")  # noqa: PLR2004


class CapacityPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The file of ``sim capacity``.

    ``participants``: connected at once; ``event_size``: of one event, which runs on one process; 0 spreads participants
    evenly. ``mix``: shares of network profiles; participants without one have no outages of their own.
    ``connections_per_process``: the most that one process may hold. ``processes``: the numbers that are tried; chosen
    by the program where none are given. ``calibrated_on``: the runs to which the server's settings were fitted.
    ``calibration``: a calibration file, or "shipped", whose runs say what was measured and what is extrapolated; the
    costs of its laboratory are not taken, as clients and proxies share its machine.
    """

    name: str
    participants: int
    target: PlanTarget
    triggers: tuple[Trigger, ...]
    event_size: int = 0
    mix: dict[str, float] = {}
    connections_per_process: int = 50_000
    processes: tuple[int, ...] = ()
    replications: int = 10
    seed: int = 1
    server: ServerConfig = ServerConfig()
    client: ClientConfig = ClientConfig()
    costs: ModelCosts = ModelCosts()
    calibrated_on: tuple[str, ...] = ()
    calibration: str = ""

    def __post_init__(self) -> None:
        """Check each rule once."""
        people = self.participants
        require(1 <= people <= MOST_PARTICIPANTS, "participants", people, f"must be from 1 to {MOST_PARTICIPANTS:,}")
        require(0 <= self.event_size <= people, "event_size", self.event_size, "must be from 0 to participants")
        require(bool(self.triggers), "triggers", [], "must name at least one trigger")
        kinds = [trigger.kind.value for trigger in self.triggers]
        require(len(set(kinds)) == len(kinds), "triggers", kinds, "must not repeat a kind")
        for i, trigger in enumerate(self.triggers):
            rule = f"must be shorter than target.longest_downtime, {self.target.longest_downtime:g} s"
            key = f"triggers[{i}].duration"
            require(trigger.length < self.target.longest_downtime, key, trigger.length, rule)
        self._check_numbers()

    def _check_numbers(self) -> None:
        for profile, share in self.mix.items():
            require(0 < share <= 1, f"mix.{profile}", share, "must be a share above 0 and at most 1")
        total = sum(self.mix.values())
        require(total <= 1 + _SHARES_ADD_UP, "mix", total, "its shares must add up to at most 1")
        people, joins, served = self.participants, self.server.join_capacity, self.costs.returns_per_s
        rule = f"must be at most what a process serves at the costs of [costs], {served:,.0f} returns a second"
        require(joins <= served, "server.join_capacity", joins, rule)
        most = self.connections_per_process
        rule = f"must be from 1 to {MOST_CONNECTIONS:,}: crowds ten times as large are simulated"
        require(1 <= most <= MOST_CONNECTIONS, "connections_per_process", most, rule)
        rule = f"must be at least event_size ({self.event_size:,}): an event runs on one process"
        require(most >= self.event_size, "connections_per_process", most, rule)
        least = self.least_processes
        rule = f"is so low that {people:,} participants need {least:,} processes, above {MOST_PROCESSES:,}"
        require(least <= MOST_PROCESSES, "connections_per_process", most, rule)
        for i, number in enumerate(self.processes):
            rule = f"must be from 2, as one is lost, to {MOST_PROCESSES:,}"
            require(2 <= number <= MOST_PROCESSES, f"processes[{i}]", number, rule)  # noqa: PLR2004
            held = self.on_one(number - 1)
            rule = f"leaves {held:,} participants on one process when one is lost; connections_per_process is {most:,}"
            require(held <= most, f"processes[{i}]", number, rule)
        require(self.replications >= 2, "replications", self.replications, "must be at least 2")  # noqa: PLR2004
        require(self.seed >= 0, "seed", self.seed, "must not be negative")

    @property
    def least_processes(self) -> int:
        """The fewest processes that hold all connections when one of them is lost; an event is not divided."""
        size = self.event_size or 1
        return math.ceil(math.ceil(self.participants / size) / (self.connections_per_process // size)) + 1

    def on_one(self, processes: int) -> int:
        """Participants of the busiest of so many processes: whole events, spread evenly."""
        size = self.event_size or 1
        events = math.ceil(self.participants / size)
        return min(math.ceil(events / processes) * size, self.participants)


class Crowd(msgspec.Struct, frozen=True):
    """At the busiest process: how many are connected when the trigger strikes, and how many of them it strikes."""

    connected: int
    struck: int


def crowd_of(plan: CapacityPlan, trigger: Trigger, processes: int, load: float = 1.0) -> Crowd:
    """The crowd when ``processes`` are there and one is lost; ``load``: times as many participants as planned."""
    left = processes - 1
    connected = plan.on_one(left)
    if trigger.kind is TriggerKind.SERVER_PROCESS:
        struck = math.ceil(plan.on_one(processes) / left)  # its participants come to the others
    elif trigger.kind is TriggerKind.CARRIER:
        struck = math.ceil(connected * trigger.share)
    elif trigger.kind is TriggerKind.ACCESS_POINT:
        struck = min(connected, trigger.participants)
    else:
        struck = connected
    return Crowd(max(round(connected * load), 1), min(max(round(struck * load), 1), max(round(connected * load), 1)))
