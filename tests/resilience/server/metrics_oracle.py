"""The numbers of ``/metrics`` computed a second time, from the event log alone, and the two compared.

Shares nothing with the server's own counting but the names of the metrics and the labels that are on show.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import pytest
from prometheus_client.parser import text_string_to_metric_families

from resilience.eventlog.vocabulary import LogEvent, LogEventKind, Role
from resilience.server.metrics import Metrics

Samples = Mapping[tuple[str, frozenset[tuple[str, str]]], float]

FED_BY_CALLS = {"quiz_commit_rows", "quiz_commit_seconds", "quiz_loop_lag_seconds"}
"""Measured where no record tells of it."""

PLAIN = {
    "quiz_joins": LogEventKind.SESSION_CREATED,
    "quiz_leaves": LogEventKind.SESSION_LEFT,
    "quiz_identities_forgotten": LogEventKind.SESSION_FORGOTTEN,
    "quiz_cleanups": LogEventKind.SESSION_EXPIRED,
    "quiz_fenced_connections": LogEventKind.SESSION_FENCED,
    "quiz_heartbeats_sent": LogEventKind.HEARTBEAT_SENT,
    "quiz_commit_failures": LogEventKind.COMMIT_FAILED,
    "quiz_messages_delayed": LogEventKind.MESSAGE_DELAYED,
    "quiz_hosts_attached": LogEventKind.HOST_ATTACHED,
    "quiz_questions_opened": LogEventKind.QUESTION_OPENED,
}


def exposed(body: bytes) -> Mapping[str, Samples]:
    """Every family of an exposition, by its name, with its samples."""
    return {
        family.name: {(sample.name, frozenset(sample.labels.items())): sample.value for sample in family.samples}
        for family in text_string_to_metric_families(body.decode())
    }


def labelled(events: Sequence[LogEvent]) -> Mapping[str, tuple[str, Counter[str]]]:
    """Counters by one label, as the log has them: which label, and how often each of its values."""

    def count(kind: LogEventKind, field: str, prefix: str = "") -> Counter[str]:
        return Counter(f"{prefix}{getattr(event, field)}" for event in events if event.kind is kind)

    verdicts = count(LogEventKind.ANSWER_COMMITTED, "outcome") + count(LogEventKind.ANSWER_REPLIED, "outcome")
    returns = count(LogEventKind.SESSION_RESUMED, "outcome") + count(LogEventKind.RESUME_REFUSED, "cause", "refused_")
    return {
        "quiz_connection_losses": ("cause", count(LogEventKind.SESSION_DETACHED, "cause")),
        "quiz_reconnections": ("outcome", returns),
        "quiz_answers": ("verdict", verdicts),
        "quiz_joins_shed": ("cause", count(LogEventKind.JOIN_SHED, "cause")),
        "quiz_connections_refused": ("cause", count(LogEventKind.CONNECTION_REFUSED, "cause")),
        "quiz_messages_refused": ("code", count(LogEventKind.MESSAGE_REFUSED, "cause")),
        "quiz_host_orders": ("outcome", count(LogEventKind.HOST_ORDERED, "outcome")),
        "quiz_events_opened": ("outcome", count(LogEventKind.SERVER_STARTED, "outcome")),
    }


def measured(events: Sequence[LogEvent]) -> Mapping[str, list[float]]:
    """What each histogram without labels was given."""

    def values(kind: LogEventKind) -> list[float]:
        return [event.value for event in events if event.kind is kind and event.value is not None]

    return {
        "quiz_heartbeat_rtt_seconds": values(LogEventKind.HEARTBEAT_ACKED),
        "quiz_join_seconds": values(LogEventKind.SESSION_CREATED),
        "quiz_restore_seconds": values(LogEventKind.SESSION_RESUMED),
    }


def attempts(events: Sequence[LogEvent]) -> Mapping[str, list[float]]:
    """Dials per success, by how it ended."""
    arrived = [e for e in events if e.kind in {LogEventKind.SESSION_CREATED, LogEventKind.SESSION_RESUMED}]
    outcomes = {event.outcome for event in arrived if event.outcome is not None}
    return {o: [float(e.attempt) for e in arrived if e.outcome == o and e.attempt is not None] for o in outcomes}


def bucketed(name: str, values: Iterable[float], bounds: Iterable[str], labels: Mapping[str, str]) -> Samples:
    """The samples of a histogram that was given these values."""
    given, base = list(values), frozenset(labels.items())
    buckets = {
        (f"{name}_bucket", base | {("le", bound)}): float(sum(value <= float(bound) for value in given))
        for bound in bounds
    }
    return buckets | {(f"{name}_count", base): float(len(given)), (f"{name}_sum", base): sum(given)}


def recounted(events: Sequence[LogEvent], shown: Mapping[str, Samples]) -> Mapping[str, Samples]:
    """The families that follow from the log; labels beyond those that are shown count as ``other``."""
    result: dict[str, Samples] = {}
    kinds = Counter(event.kind for event in events)
    for name, kind in PLAIN.items():
        result[name] = {(f"{name}_total", frozenset[tuple[str, str]]()): float(kinds[kind])}
    for name, (label, counts) in labelled(events).items():
        known = {value for _, labels in shown[name] for _, value in labels}
        folded: Counter[str] = Counter(dict.fromkeys(known, 0))
        for value, count in counts.items():
            folded[value if value in known else "other"] += count
        result[name] = {(f"{name}_total", frozenset({(label, v)})): float(n) for v, n in folded.items()}
    for name, values in measured(events).items():
        result[name] = bucketed(name, values, _bounds(shown[name]), {})
    name, by_outcome = "quiz_attempts_per_success", attempts(events)
    every: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for outcome in ("created", "resumed", "rejoined"):
        every |= bucketed(name, by_outcome.get(outcome, []), _bounds(shown[name]), {"outcome": outcome})
    result[name] = every
    return result | _others(events)


def _others(events: Sequence[LogEvent]) -> dict[str, Samples]:
    found = sum(event.value or 0 for event in events if event.kind is LogEventKind.SERVER_STARTED)
    graces = sum(event.kind is LogEventKind.SESSION_DETACHED and event.cause == "grace" for event in events)
    draining = any(event.kind is LogEventKind.SERVER_DRAINING for event in events)
    none = frozenset[tuple[str, str]]()
    return {
        "quiz_sessions_recovered": {("quiz_sessions_recovered_total", none): float(found)},
        "quiz_grace_expirations": {("quiz_grace_expirations_total", none): float(graces)},
        "quiz_draining": {("quiz_draining", none): float(draining)},
    }


def _bounds(samples: Samples) -> list[str]:
    return sorted({dict(labels)["le"] for name, labels in samples if name.endswith("_bucket")})


def assert_agrees(metrics: Metrics, events: Iterable[LogEvent]) -> Mapping[str, Samples]:
    """Every counter and histogram of the server says what its log says; returns what is exposed."""
    shown = exposed(metrics.exposition()[1])
    told = [event for event in events if event.role is Role.SERVER]
    for name, expected in recounted(told, shown).items():
        assert shown[name] == pytest.approx(expected, rel=1e-9), name
    return shown
