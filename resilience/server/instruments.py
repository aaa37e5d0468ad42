"""Every metric of the server by name, unit, meaning, labels and buckets. Knows nothing of records.

Names start with ``quiz_``, units are base units (seconds), and every label takes its values from a set that is fixed
here: a peer's input never becomes a label. ``docs/operations.md`` says what to do about each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from resilience.eventlog.vocabulary import DetachCause, LogEventKind
from resilience.policy.close_codes import CloseCode
from resilience.protocol.messages import ErrorCode
from resilience.quiz.verdicts import AnswerVerdict

OTHER = "other"
"""The label of every value outside a label's fixed set."""

LOSS_CAUSES = ("closed", *DetachCause, "slow", *(f"close_{code.value}" for code in CloseCode))
RETURNS = ("resumed", "rejoined", "refused_unknown", "refused_retired", "refused_superseded")
ARRIVALS = ("created", "resumed", "rejoined")
SHED_CAUSES = ("overload", "address", "full", "draining")
REFUSAL_CAUSES = ("origin", "event", "event_full", "late", "strikes", "key", "protocol")
COMMAND_OUTCOMES = ("done", "stale_step", "refused")
STARTS = ("fresh", "recovered")

ROUND_TRIPS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 15.0, 30.0)
SERVICE_TIMES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
ATTEMPTS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 50.0)
ROWS = (1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0, 200.0, 500.0, 1000.0, 2000.0, 5000.0)

Inc = Callable[[], None]
Observe = Callable[[float], None]


class LabelledCounter:
    """One number per value of a label, each created beforehand; other values count as ``other``."""

    def __init__(self, metric: Counter, values: Iterable[str]) -> None:
        self._other: Inc = metric.labels(OTHER).inc
        self._known: dict[str | None, Inc] = {value: metric.labels(value).inc for value in values}

    def count(self, value: str | None) -> None:
        """Count one of this value."""
        self._known.get(value, self._other)()


class Instruments:
    """All metrics that are counted at each occurrence, in a registry of their own."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self.losses = self._labelled_counter(
            "connection_losses", "Participants whose connection was lost, by cause.", "cause", LOSS_CAUSES
        )
        self.reconnections = self._labelled_counter(
            "reconnections", "Resumes by outcome; rejoined: after the clean-up.", "outcome", RETURNS
        )
        self.answers = self._labelled_counter(
            "answers", "Answers by verdict.", "verdict", [v.value for v in AnswerVerdict]
        )
        self.shed = self._labelled_counter(
            "joins_shed", "Connections rejected with a retry time, by reason.", "cause", SHED_CAUSES
        )
        self.refused = self._labelled_counter(
            "connections_refused", "Connections rejected for good, by reason.", "cause", REFUSAL_CAUSES
        )
        self.messages_refused = self._labelled_counter(
            "messages_refused", "Messages answered with an error, by class.", "code", [c.value for c in ErrorCode]
        )
        self.host_orders = self._labelled_counter(
            "host_orders", "Commands of hosts, by outcome.", "outcome", COMMAND_OUTCOMES
        )
        self.starts = self._labelled_counter("events_opened", "Events opened, fresh or recovered.", "outcome", STARTS)
        self.plain = {kind: self._plain(name, text) for kind, (name, text) in _PLAIN.items()}
        self._arrivals()
        self._machinery()

    def _arrivals(self) -> None:
        self.round_trip = self._histogram(
            "heartbeat_rtt_seconds", "Time from a ping to its pong at the server.", ROUND_TRIPS
        )
        self.join = self._histogram("join_seconds", "Time from a join's arrival to its reply.", SERVICE_TIMES)
        self.restore = self._histogram(
            "restore_seconds", "Time from a resume's arrival to its reply, the restored state.", SERVICE_TIMES
        )
        name, text = "quiz_attempts_per_success", "Dials that a client needed to connect, by its own count."
        histogram = Histogram(name, text, ["outcome"], buckets=ATTEMPTS, registry=self._registry)
        self.attempts: Mapping[str | None, Observe] = {o: histogram.labels(o).observe for o in ARRIVALS}

    def _machinery(self) -> None:
        self.lag = self._histogram("loop_lag_seconds", "Delay of the event loop's timers.", SERVICE_TIMES)
        self.commit_rows = self._histogram("commit_rows", "Rows in one commit, stored or not.", ROWS)
        self.commit_time = self._histogram("commit_seconds", "Duration of one commit, stored or not.", SERVICE_TIMES)
        self.grace_expirations: Inc = Counter(
            "quiz_grace_expirations", "Losses detected by silence: the grace period expired.", registry=self._registry
        ).inc
        self.recovered: Observe = Counter(
            "quiz_sessions_recovered", "Sessions recovered from the database at a start.", registry=self._registry
        ).inc
        self.draining: Observe = Gauge(
            "quiz_draining", "1 while the server drains, else 0.", registry=self._registry
        ).set

    def _plain(self, name: str, text: str) -> Inc:
        return Counter(f"quiz_{name}", text, registry=self._registry).inc

    def _labelled_counter(self, name: str, text: str, label: str, values: Sequence[str]) -> LabelledCounter:
        return LabelledCounter(Counter(f"quiz_{name}", text, [label], registry=self._registry), values)

    def _histogram(self, name: str, text: str, buckets: Sequence[float]) -> Observe:
        return Histogram(f"quiz_{name}", text, buckets=buckets, registry=self._registry).observe


_PLAIN = {
    LogEventKind.SESSION_CREATED: ("joins", "New participants."),
    LogEventKind.SESSION_LEFT: ("leaves", "Participants who left on purpose."),
    LogEventKind.SESSION_EXPIRED: ("cleanups", "Participants disconnected after the clean-up interval."),
    LogEventKind.SESSION_FORGOTTEN: ("identities_forgotten", "Participants deleted: gone without an answer."),
    LogEventKind.SESSION_FENCED: ("fenced_connections", "Connections replaced by a newer one of the same participant."),
    LogEventKind.HEARTBEAT_SENT: ("heartbeats_sent", "Heartbeats sent."),
    LogEventKind.COMMIT_FAILED: ("commit_failures", "Commits that failed."),
    LogEventKind.MESSAGE_DELAYED: ("messages_delayed", "Messages delayed because their connection exceeds its rate."),
    LogEventKind.HOST_ATTACHED: ("hosts_attached", "Hosts accepted with the right key."),
    LogEventKind.QUESTION_OPENED: ("questions_opened", "Questions opened."),
}
"""Kinds of records that are counted without a label."""
