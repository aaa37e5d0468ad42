"""Every setting of the server, the clients and the scripted quiz: frozen values, validated once when made. Pure.

Where the values come from (flags, environment, TOML) is not known here; ``settings.py`` and the experiment loader read
them. A value that breaks its rule raises :class:`~resilience.errors.ConfigError`, which names the key, the value and
the rule.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec

from resilience.errors import ConfigError, require
from resilience.policy.adaptive_heartbeat import AdaptiveBounds
from resilience.policy.backoff import MAX_RETRY_AFTER_S, PRESETS, BackoffPolicy, ExponentialDelays, Jitter, Preset
from resilience.policy.failure_detectors import HeartbeatTimeouts, ProbeTimeouts
from resilience.policy.handshake import HandshakeLimits
from resilience.policy.origins import RULE as ORIGIN_RULE
from resilience.policy.origins import OriginError, listed_origin
from resilience.policy.return_window import MAX_SPREAD_S, MIN_SPREAD_S
from resilience.protocol.client.participant import ClientRules
from resilience.protocol.server.drain import DrainSettings
from resilience.protocol.server.settings import ConnectionSettings, RoomSettings
from resilience.quiz.answer_behaviour import AnswerBehaviour
from resilience.quiz.game import Game
from resilience.quiz.plan import Pace, QuizPlan
from resilience.quiz.questions import arithmetic_questions
from resilience.units import Seconds

MIN_PRESENCE_INTERVAL_S: Seconds = 0.25
"""At most four presence frames a second reach any receiver (SPEC S3)."""

MAX_LATE_WINDOW_S: Seconds = 2.0

MAX_AUTOMATIC_QUESTIONS = 10_000
"""The most questions of an automatic quiz, which are all made when it begins."""

MAX_WHOLE_NUMBER = 2**31 - 1
"""The largest whole number of any setting: what the operating system's calls can take."""


def _require_positive(config: msgspec.Struct, *keys: str) -> None:
    for key in keys:
        value = getattr(config, key)
        require(value is None or 0 < value < float("inf"), key, value, "must be a positive, finite number")


def _require_not_negative(config: msgspec.Struct, *keys: str) -> None:
    for key in keys:
        value = getattr(config, key)
        require(0 <= value < float("inf"), key, value, "must be finite and not negative")


def _require_whole_numbers_in_range(config: msgspec.Struct) -> None:
    for key in config.__struct_fields__:
        value = getattr(config, key)
        ok = not isinstance(value, int) or value <= MAX_WHOLE_NUMBER
        require(ok, key, value, f"must be at most {MAX_WHOLE_NUMBER}")


def _require_origin(text: str) -> None:
    try:
        listed_origin(text)
    except OriginError as error:
        raise ConfigError("allowed_origins", text, f"{ORIGIN_RULE}; this one {error}") from None


class ServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The server's settings; all durations in seconds."""

    heartbeat_interval: Seconds = 15.0
    """Time between two pings of one participant. The first ping is spread at random over this time."""
    grace_period: Seconds = 30.0
    """Silence after which the server cuts a connection and its participant is temporarily disconnected."""
    cleanup_interval: Seconds = 60.0
    """Absence, counted from the last sign of life, after which a participant counts as disconnected.

    Score and answers are kept.
    """
    join_capacity: float = 3000.0
    """Measured number of joins that this server completes per second.

    It sets the announced return window, the pace of admission and the length of a drain.
    """
    presence_interval: Seconds = 0.5
    """The least time between two presence frames."""
    flap_hidden: Seconds = 1.0
    """How long an absence must last before other players see it."""
    participants_cap: int = 200
    """The largest number of participants, connected or temporarily disconnected, that a snapshot lists by name.

    Above it a snapshot gives a count only, until there are clearly fewer again.
    """
    leaderboard_size: int = 10
    """The number of entries on the leaderboard."""
    max_return_spread: Seconds = MAX_SPREAD_S
    """The longest time over which the server asks a herd to spread its first attempts.

    It matters to a server whose joins would take longer than this to complete once.
    """
    late_window: Seconds = 0.0
    """How long after its close a question accepts answers from participants whose outage overlapped the close.

    0 turns this off.
    """
    first_message_deadline: Seconds = 5.0
    """Time from accepting a connection until it must have finished the handshake and sent join, resume or host."""
    strike_limit: int = 10
    """The number of malformed messages after which a connection is closed."""
    max_message_bytes: int = 16_384
    """The longest message that a participant may send."""
    write_buffer_bytes: int = 262_144
    """Bytes that may be queued in this process for one slow reader before its connection is cut; the client may resume.
    """
    send_buffer_bytes: int = 65_536
    """Bytes that the operating system may buffer for one socket; a small value shows a slow reader sooner."""
    backlog: int = 4096
    """Connections that may wait to be accepted. A herd that overflows this queue loses seconds to retransmission."""
    drain_window: Seconds = 2.0
    """The least time over which a graceful stop spreads its closes."""
    restart_pause: Seconds = 1.0
    """How long the next start is expected to take; added to the retry time of every client at a graceful stop."""
    adaptive_heartbeat: bool = False
    """Whether each connection's heartbeat interval and grace period follow its round trips and the quiz phase.

    When off, they are exactly ``heartbeat_interval`` and ``grace_period``.
    """
    interval_floor: Seconds = 5.0
    """The shortest interval that the adaptive heartbeat may choose."""
    grace_floor: Seconds = 10.0
    """The shortest grace period that the adaptive heartbeat may choose."""
    checkpoint_interval: Seconds = 1.0
    """Time between two writes of data that no client waits for (losses, signs of life, retired tokens)."""
    admission_seconds: Seconds = 2.0
    """Seconds of queued joins above which a new connection is rejected with a retry time."""
    max_connections: int = 0
    """The most open connections; 0 derives the number from the limit on open files."""
    max_participants: int = 50_000
    """The most participants of one event; 0 for no limit.

    At the limit a join replaces the participant that has been disconnected for longest without an answer; without one
    it is refused.
    """
    max_events: int = 100
    """The most events that run at once."""
    message_rate: float = 50.0
    """Messages per second that one connection may send steadily; messages above the rate are delayed. 0 turns this off.

    Control frames, fragments and every 16 KiB count as messages.
    """
    message_burst: int = 200
    """Messages that one connection may send at once before that rate applies."""
    address_message_rate: float = 10_000.0
    """Messages per second that all connections of one address may send steadily, counted in the same way.

    0 turns the limit off.
    """
    address_message_burst: int = 40_000
    """Messages that one address may send at once before that rate applies."""
    address_rate: float = 1000.0
    """Connections per second that one address may open steadily. 0 turns the limit off."""
    address_burst: int = 20_000
    """Connections that one address may open at once before that rate applies."""
    address_failures: float = 60.0
    """Rejections per minute (wrong tokens, keys, origins) after which an address has to wait.

    No more wrong host keys than this are compared within any minute. 0 turns the limit off.
    """
    address_page_rate: float = 20.0
    """Requests per second that one address may make for pages (`/`, `/healthz`, `/readyz`, `/metrics`, `/join.svg`).

    The pages for people and their files count by ``address_rate`` instead. 0 turns the limit off.
    """
    address_page_burst: int = 100
    """Requests for pages that one address may make at once before that rate applies."""
    allowed_origins: tuple[str, ...] = ()
    """Origins of pages and apps that may connect, in addition to the server's own: scheme, host and, if it is not the
    scheme's own, port. Each is listed by itself; there are no wildcards."""
    trust_forwarded: bool = False
    """Whether to trust the last address in ``X-Forwarded-For``; only behind a proxy that sets it."""

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` for the first rule that is broken."""
        _require_positive(
            self, "heartbeat_interval", "grace_period", "cleanup_interval", "join_capacity", "first_message_deadline"
        )
        _require_positive(self, "strike_limit", "max_message_bytes", "write_buffer_bytes", "backlog")
        _require_whole_numbers_in_range(self)
        grace, interval = self.grace_period, self.heartbeat_interval
        require(grace > interval, "grace_period", grace, f"must exceed heartbeat_interval ({interval:g} s)")
        cleanup = self.cleanup_interval
        require(cleanup >= grace, "cleanup_interval", cleanup, f"must be at least grace_period ({grace:g} s)")
        presence = self.presence_interval
        require(
            MIN_PRESENCE_INTERVAL_S <= presence < float("inf"),
            "presence_interval",
            presence,
            f"must be at least {MIN_PRESENCE_INTERVAL_S} s",
        )
        spread = self.max_return_spread
        rule = f"must be within {MIN_SPREAD_S} and {MAX_RETRY_AFTER_S:g} s"
        require(MIN_SPREAD_S <= spread <= MAX_RETRY_AFTER_S, "max_return_spread", spread, rule)
        late = self.late_window
        require(0 <= late <= MAX_LATE_WINDOW_S, "late_window", late, f"must be within 0 and {MAX_LATE_WINDOW_S} s")
        _require_not_negative(
            self, "flap_hidden", "participants_cap", "leaderboard_size", "drain_window", "restart_pause"
        )
        _require_not_negative(
            self,
            "max_connections",
            "max_participants",
            "max_events",
            "address_rate",
            "address_failures",
            "address_message_rate",
            "address_page_rate",
            "message_rate",
        )
        self._check_limits()
        self._check_adaptive()

    def _check_limits(self) -> None:
        _require_positive(self, "send_buffer_bytes", "checkpoint_interval", "admission_seconds")
        for key in ("message_burst", "address_burst", "address_message_burst", "address_page_burst"):
            require(getattr(self, key) >= 1, key, getattr(self, key), "must be at least 1")
        for text in self.allowed_origins:
            _require_origin(text)

    def _check_adaptive(self) -> None:
        _require_positive(self, "interval_floor", "grace_floor")
        if not self.adaptive_heartbeat:
            return
        floor, interval, grace = self.interval_floor, self.heartbeat_interval, self.grace_period
        require(floor <= interval, "interval_floor", floor, f"must not exceed heartbeat_interval ({interval:g} s)")
        least = self.grace_floor
        require(floor < least <= grace, "grace_floor", least, f"must exceed interval_floor, at most {grace:g} s")

    @property
    def room(self) -> RoomSettings:
        """The settings of the room machine."""
        return RoomSettings(
            HeartbeatTimeouts(self.heartbeat_interval, self.grace_period, self.cleanup_interval),
            self.join_capacity,
            self.presence_interval,
            self.flap_hidden,
            self.participants_cap,
            self.leaderboard_size,
            self.checkpoint_interval,
            AdaptiveBounds(self.interval_floor, self.grace_floor) if self.adaptive_heartbeat else None,
            self.max_participants,
            self.max_return_spread,
        )

    @property
    def connection(self) -> ConnectionSettings:
        """The settings of the server's connections."""
        return ConnectionSettings(
            self.first_message_deadline,
            self.grace_period,
            self.strike_limit,
            self.message_rate,
            self.message_burst,
        )

    def handshake(self, capacity: int) -> HandshakeLimits:
        """The settings of the handshake policy; ``capacity`` counts where ``max_connections`` is 0."""
        return HandshakeLimits(
            self.max_connections or capacity,
            self.join_capacity,
            self.admission_seconds,
            self.address_rate,
            self.address_burst,
            self.address_failures,
            self.allowed_origins,
            self.trust_forwarded,
            self.address_message_rate,
            self.address_message_burst,
            self.address_page_rate,
            self.address_page_burst,
        )

    @property
    def drain(self) -> DrainSettings:
        """The settings of an orderly stop."""
        return DrainSettings(self.drain_window, self.join_capacity, self.restart_pause)


class ClientConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A client's settings; all durations in seconds. ``None`` means the preset's number."""

    preset: Preset = Preset.WINDOW
    """The backoff policy that supplies each number left out below."""
    attempts: int | None = None
    """Number of attempts in one outage before the client gives up. Default: the preset's."""
    initial: Seconds | None = None
    """The first delay of the exponential ladder. Default: the preset's."""
    maximum: Seconds | None = None
    """The longest delay of the ladder. Default: the preset's."""
    multiplier: float | None = None
    """The factor between two delays of the ladder. Default: the preset's."""
    jitter: Jitter | None = None
    """How a delay is randomised. Default: the preset's."""
    budget: Seconds | None = None
    """How long after the loss the client keeps trying. Default: the preset's.

    The first wait of an outage that the server asks for is not counted.
    """
    stable_after: Seconds = 5.0
    """How long a session must last before the next loss starts at the first delay again."""
    probe_after: Seconds = 4.0
    """Silence after which the client probes the server."""
    probe_deadline: Seconds = 2.0
    """Time allowed for the reply to a probe before the connection counts as dead."""
    open_timeout: Seconds = 5.0
    """Time allowed for opening a connection."""
    join_timeout: Seconds = 5.0
    """Time allowed for the reply to join or resume on an open connection."""

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` for the first rule that is broken."""
        _require_positive(self, "attempts", "initial", "maximum", "budget", "probe_after", "probe_deadline")
        _require_positive(self, "open_timeout", "join_timeout", "stable_after")
        _require_whole_numbers_in_range(self)
        multiplier = self.multiplier
        require(multiplier is None or 1 <= multiplier < float("inf"), "multiplier", multiplier, "must be at least 1")
        initial, maximum = self.backoff.ladder.initial, self.backoff.ladder.maximum
        require(maximum >= initial, "maximum", maximum, f"must be at least initial ({initial:g} s)")

    @property
    def backoff(self) -> BackoffPolicy:
        """The preset with this configuration's own numbers in it."""
        base = PRESETS[self.preset]
        ladder = ExponentialDelays(
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
        """The settings of the client machine: one object for all clients of equal settings."""
        return _rules_of(self)


@lru_cache(maxsize=64)
def _rules_of(config: ClientConfig) -> ClientRules:
    probe = ProbeTimeouts(config.probe_after, config.probe_deadline)
    return ClientRules(config.backoff, probe, config.open_timeout, config.join_timeout)


class QuizConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A quiz that advances by itself, and how its scripted players answer. Durations in seconds."""

    questions: int = 6
    """The number of questions."""
    lobby: Seconds = 6.0
    """Time from the first join to the first question."""
    question_time: Seconds = 6.0
    """How long each question is open."""
    reveal_time: Seconds = 2.0
    """How long the right answer is shown."""
    leaderboard_time: Seconds = 2.0
    """How long the leaderboard is shown."""
    answer_share: float = 0.95
    """The probability that a scripted player answers a question."""
    fastest: float = 0.05
    """The earliest moment of an answer, as a share of the question's time."""
    slowest: float = 0.85
    """The latest moment of an answer, as a share of the question's time."""

    def __post_init__(self) -> None:
        """Raise :class:`ConfigError` for the first rule that is broken."""
        _require_positive(self, "questions", "question_time", "reveal_time", "leaderboard_time")
        require(
            self.questions <= MAX_AUTOMATIC_QUESTIONS,
            "questions",
            self.questions,
            f"must be at most {MAX_AUTOMATIC_QUESTIONS}",
        )
        require(0 <= self.lobby < float("inf"), "lobby", self.lobby, "must be finite and not negative")
        for key in ("answer_share", "fastest", "slowest"):
            require(0 <= getattr(self, key) <= 1, key, getattr(self, key), "must be a share between 0 and 1")
        require(self.fastest <= self.slowest, "fastest", self.fastest, f"must not exceed slowest ({self.slowest:g})")

    def plan(self, seed: int) -> QuizPlan:
        """The plan of this quiz: arithmetic questions of this seed, with automatic pace."""
        pace = Pace(self.lobby, self.reveal_time, self.leaderboard_time)
        return QuizPlan(arithmetic_questions(seed, self.questions, self.question_time), pace=pace)

    def game(self, seed: int, late_window: Seconds = 0.0) -> Game:
        """A new game of these questions."""
        plan = self.plan(seed)
        return Game(plan.questions, plan.pace, late_window)

    @property
    def player(self) -> AnswerBehaviour:
        """The answering behaviour of its scripted players."""
        return AnswerBehaviour(self.answer_share, self.fastest, self.slowest)
