"""Every setting of the server, the clients and the scripted quiz: frozen values, checked once when they are made. Pure.

Where the values come from (flags, environment, TOML) is not known here; ``settings.py`` and the experiment loader do
that. A value that breaks its rule raises :class:`~resilience.errors.ConfigError` naming the key, the value and the
rule.
"""

from __future__ import annotations

import msgspec

from resilience.errors import require
from resilience.policy.backoff import PRESETS, BackoffPolicy, Jitter, Ladder, Preset
from resilience.policy.liveness import HeartbeatRules, ProbeRules
from resilience.protocol.client import ClientRules
from resilience.protocol.room import RoomRules
from resilience.quiz.game import Game, Pace
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


class ServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The server's settings; all durations in seconds.

    ``heartbeat_interval`` < ``grace_period`` <= ``cleanup_interval``: ping, temporary absence, final absence, the last
    two counted from the last sign of life. ``join_capacity`` is joins per second this server was measured to take and
    sets the return window. ``presence_interval`` is the least time between two presence frames, ``flap_hidden`` how
    long an absence must last before other players see it. ``participants_cap`` bounds the list in a snapshot.
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
    backlog: int = 4096
    drain_window: Seconds = 2.0

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
        for key in ("flap_hidden", "participants_cap", "leaderboard_size", "drain_window"):
            value = getattr(self, key)
            require(0 <= value < float("inf"), key, value, "must be finite and not negative")

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

    def game(self, seed: int, late_window: Seconds = 0.0) -> Game:
        """A fresh game of these questions."""
        pace = Pace(self.lobby, self.reveal_time, self.leaderboard_time)
        return Game(arithmetic_questions(seed, self.questions, self.question_time), pace, late_window)

    @property
    def player(self) -> PlayerRules:
        """How its scripted players answer."""
        return PlayerRules(self.answer_share, self.fastest, self.slowest)
