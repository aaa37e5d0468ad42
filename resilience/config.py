"""Every setting of the server, the clients and the scripted quiz: frozen values, checked once when they are made. Pure.

Where the values come from (flags, environment, TOML) is not known here; ``settings.py`` and the experiment loader do
that. A value that breaks its rule raises :class:`~resilience.errors.ConfigError` naming the key, the value and the
rule.
"""

from __future__ import annotations

import msgspec

from resilience.errors import require
from resilience.policy.adaptive import AdaptiveRules
from resilience.policy.backoff import PRESETS, BackoffPolicy, Jitter, Ladder, Preset
from resilience.policy.liveness import HeartbeatRules, ProbeRules
from resilience.protocol.client import ClientRules
from resilience.protocol.rules import RoomRules
from resilience.quiz.game import Game
from resilience.quiz.plan import Pace, QuizPlan
from resilience.quiz.player import PlayerRules
from resilience.quiz.questions import arithmetic_questions
from resilience.units import Seconds

PRESENCE_FLOOR: Seconds = 0.25
"""At most four presence frames a second reach any receiver (SPEC S3)."""

LATE_WINDOW_CEILING: Seconds = 2.0


def _require_positive(config: msgspec.Struct, *keys: str) -> None:
    for key in keys:
        value = getattr(config, key)
        require(value is None or 0 < value < float("inf"), key, value, "must be a positive, finite number")


def _require_not_negative(config: msgspec.Struct, *keys: str) -> None:
    for key in keys:
        value = getattr(config, key)
        require(0 <= value < float("inf"), key, value, "must be finite and not negative")


class ServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The server's settings; all durations in seconds.

    ``heartbeat_interval`` < ``grace_period`` <= ``cleanup_interval``: ping, temporary absence, final absence, the last
    two counted from the last sign of life. ``join_capacity`` is joins per second this server was measured to take and
    sets the return window. ``presence_interval`` is the least time between two presence frames, ``flap_hidden`` how
    long an absence must last before other players see it. ``participants_cap`` bounds the list in a snapshot.

    ``adaptive_heartbeat`` lets each connection's interval and grace follow its round trips and the phase, down to
    ``interval_floor`` and ``grace_floor``; off, they are exactly the three above. ``checkpoint_interval`` is how often
    what nobody waits for (signs of life, retired tokens) is stored.

    ``drain_window`` is the least time that an orderly stop takes to close everybody, ``restart_pause`` how long the
    next start is expected to take.

    ``admission_seconds`` is how many seconds of joins may queue before newcomers are told to come back later.
    ``max_connections`` 0 follows the limit on open files. ``message_rate`` and ``message_burst`` bound what one
    connection may say a second; ``address_rate`` and ``address_burst`` how many connections one address may open, and
    ``address_failures`` how many refusals a minute (wrong tokens, keys, origins) it may earn; 0 turns a limit off.
    ``allowed_origins`` are browser origins beside the server's own; ``trust_forwarded`` believes ``X-Forwarded-For``.
    """

    heartbeat_interval: Seconds = 15.0
    grace_period: Seconds = 30.0
    cleanup_interval: Seconds = 60.0
    join_capacity: float = 3000.0
    presence_interval: Seconds = 0.5
    flap_hidden: Seconds = 1.0
    participants_cap: int = 200
    leaderboard_size: int = 10
    late_window: Seconds = 0.0
    first_message_deadline: Seconds = 5.0
    strike_limit: int = 10
    max_message_bytes: int = 16_384
    write_buffer_bytes: int = 262_144
    send_buffer_bytes: int = 65_536
    backlog: int = 4096
    drain_window: Seconds = 2.0
    restart_pause: Seconds = 1.0
    adaptive_heartbeat: bool = False
    interval_floor: Seconds = 5.0
    grace_floor: Seconds = 10.0
    checkpoint_interval: Seconds = 1.0
    admission_seconds: Seconds = 2.0
    max_connections: int = 0
    max_events: int = 100
    message_rate: float = 50.0
    message_burst: int = 200
    address_rate: float = 1000.0
    address_burst: int = 20_000
    address_failures: float = 60.0
    allowed_origins: tuple[str, ...] = ()
    trust_forwarded: bool = False

    def __post_init__(self) -> None:
        """Check each rule once."""
        _require_positive(
            self, "heartbeat_interval", "grace_period", "cleanup_interval", "join_capacity", "first_message_deadline"
        )
        _require_positive(self, "strike_limit", "max_message_bytes", "write_buffer_bytes", "backlog")
        grace, interval = self.grace_period, self.heartbeat_interval
        require(grace > interval, "grace_period", grace, f"must exceed heartbeat_interval ({interval:g} s)")
        cleanup = self.cleanup_interval
        require(cleanup >= grace, "cleanup_interval", cleanup, f"must be at least grace_period ({grace:g} s)")
        presence = self.presence_interval
        require(
            PRESENCE_FLOOR <= presence < float("inf"),
            "presence_interval",
            presence,
            f"must be at least {PRESENCE_FLOOR} s",
        )
        late = self.late_window
        require(0 <= late <= LATE_WINDOW_CEILING, "late_window", late, f"must be within 0 and {LATE_WINDOW_CEILING} s")
        _require_not_negative(
            self, "flap_hidden", "participants_cap", "leaderboard_size", "drain_window", "restart_pause"
        )
        _require_not_negative(self, "max_connections", "max_events", "address_rate", "address_failures", "message_rate")
        self._check_limits()
        self._check_adaptive()

    def _check_limits(self) -> None:
        _require_positive(self, "send_buffer_bytes", "checkpoint_interval", "admission_seconds")
        for key in ("message_burst", "address_burst"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "must be at least 1")
        for origin in self.allowed_origins:
            scheme, _, host = origin.partition("://")
            ok = scheme in ("http", "https") and bool(host) and "/" not in host
            require(ok, "allowed_origins", origin, "must be origins such as https://quiz.example, without a path")

    def _check_adaptive(self) -> None:
        _require_positive(self, "interval_floor", "grace_floor")
        if not self.adaptive_heartbeat:
            return
        floor, interval, grace = self.interval_floor, self.heartbeat_interval, self.grace_period
        require(floor <= interval, "interval_floor", floor, f"must not exceed heartbeat_interval ({interval:g} s)")
        least = self.grace_floor
        require(floor < least <= grace, "grace_floor", least, f"must exceed interval_floor, at most {grace:g} s")

    @property
    def room(self) -> RoomRules:
        """What the room machine works by."""
        return RoomRules(
            HeartbeatRules(self.heartbeat_interval, self.grace_period, self.cleanup_interval),
            self.join_capacity,
            self.presence_interval,
            self.flap_hidden,
            self.participants_cap,
            self.leaderboard_size,
            self.checkpoint_interval,
            AdaptiveRules(self.interval_floor, self.grace_floor) if self.adaptive_heartbeat else None,
        )


class ClientConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A client's settings; all durations in seconds. ``None`` takes the preset's number.

    ``probe_after`` is the silence that triggers a probe, ``probe_deadline`` how long its reply may take,
    ``open_timeout`` how long a dial may take, ``join_timeout`` how long an open connection may take to answer join or
    resume.
    """

    preset: Preset = Preset.WINDOW
    attempts: int | None = None
    initial: Seconds | None = None
    maximum: Seconds | None = None
    multiplier: float | None = None
    jitter: Jitter | None = None
    budget: Seconds | None = None
    stable_after: Seconds = 5.0
    probe_after: Seconds = 4.0
    probe_deadline: Seconds = 2.0
    open_timeout: Seconds = 5.0
    join_timeout: Seconds = 5.0

    def __post_init__(self) -> None:
        """Check each rule once."""
        _require_positive(self, "attempts", "initial", "maximum", "budget", "probe_after", "probe_deadline")
        _require_positive(self, "open_timeout", "join_timeout", "stable_after")
        multiplier = self.multiplier
        require(multiplier is None or 1 <= multiplier < float("inf"), "multiplier", multiplier, "must be at least 1")
        initial, maximum = self.backoff.ladder.initial, self.backoff.ladder.maximum
        require(maximum >= initial, "maximum", maximum, f"must be at least initial ({initial:g} s)")

    @property
    def backoff(self) -> BackoffPolicy:
        """The preset with this configuration's own numbers in it."""
        base = PRESETS[self.preset]
        ladder = Ladder(
            base.ladder.initial if self.initial is None else self.initial,
            base.ladder.maximum if self.maximum is None else self.maximum,
            base.ladder.multiplier if self.multiplier is None else self.multiplier,
            base.ladder.jitter if self.jitter is None else self.jitter,
        )
        return BackoffPolicy(
            base.preset,
            ladder,
            base.attempts if self.attempts is None else self.attempts,
            base.budget if self.budget is None else self.budget,
            stable_after=self.stable_after,
        )

    @property
    def rules(self) -> ClientRules:
        """What the client machine works by."""
        probe = ProbeRules(self.probe_after, self.probe_deadline)
        return ClientRules(self.backoff, probe, self.open_timeout, self.join_timeout)


class QuizConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A quiz that advances by itself, and how its scripted players answer. Durations in seconds.

    The lobby is counted from the first join. A player answers a question with probability ``answer_share``, at a moment
    uniform between ``fastest`` and ``slowest`` as shares of the question's time.
    """

    questions: int = 6
    lobby: Seconds = 6.0
    question_time: Seconds = 6.0
    reveal_time: Seconds = 2.0
    leaderboard_time: Seconds = 2.0
    answer_share: float = 0.95
    fastest: float = 0.05
    slowest: float = 0.85

    def __post_init__(self) -> None:
        """Check each rule once."""
        _require_positive(self, "questions", "question_time", "reveal_time", "leaderboard_time")
        require(0 <= self.lobby < float("inf"), "lobby", self.lobby, "must be finite and not negative")
        for key in ("answer_share", "fastest", "slowest"):
            require(0 <= getattr(self, key) <= 1, key, getattr(self, key), "must be a share between 0 and 1")
        require(self.fastest <= self.slowest, "fastest", self.fastest, f"must not exceed slowest ({self.slowest:g})")

    def plan(self, seed: int) -> QuizPlan:
        """The event that this makes: sums, at its own pace."""
        pace = Pace(self.lobby, self.reveal_time, self.leaderboard_time)
        return QuizPlan(arithmetic_questions(seed, self.questions, self.question_time), pace=pace)

    def game(self, seed: int, late_window: Seconds = 0.0) -> Game:
        """A fresh game of these questions."""
        plan = self.plan(seed)
        return Game(plan.questions, plan.pace, late_window)

    @property
    def player(self) -> PlayerRules:
        """How its scripted players answer."""
        return PlayerRules(self.answer_share, self.fastest, self.slowest)
