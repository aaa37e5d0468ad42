"""Records in, Prometheus text out: every number means what it says, and no peer can make series or spoil sums."""

from __future__ import annotations

import random
import time
from collections.abc import Mapping

import msgspec
import pytest
from prometheus_client import REGISTRY
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from rich.console import Console

import resilience
from resilience.eventlog.vocabulary import Lane, LogEventKind, Role
from resilience.eventlog.writer import EventList
from resilience.protocol.effects import Record, event_of
from resilience.runtime import RecordSink, log_to, tee
from resilience.server.metrics import MAX_ATTEMPTS, Metrics

from .metrics_oracle import FED_BY_CALLS, assert_agrees, exposed, recounted

CAUSES = (
    "closed",
    "grace",
    "close_1001",
    "close_4999",
    "retired",
    "unknown",
    "overload",
    "origin",
    "unexpected",
    "?",
)
OUTCOMES = ("created", "resumed", "rejoined", "accepted", "rejected_late", "done", "fresh", "recovered", "?")


class House:
    """Who is here, for a test to say."""

    def __init__(self, states: Mapping[str, int], sockets: int) -> None:
        self._states, self._sockets = states, sockets

    def states(self) -> Mapping[str, int]:
        return self._states

    def connections(self) -> int:
        return self._sockets


def value(metrics: Metrics, family: str, sample: str, **labels: str) -> float | None:
    """One sample, if it is there."""
    return exposed(metrics.exposition()[1]).get(family, {}).get((sample, frozenset(labels.items())))


def anything(draw: random.Random) -> Record:
    """A record of any kind with any fields, sensible or not."""
    return Record(
        draw.choice(list(LogEventKind)),
        draw.random(),
        f"p{draw.randrange(9)}",
        attempt=draw.choice([None, 1, 2, 7]),
        outcome=draw.choice([None, *OUTCOMES]),
        cause=draw.choice([None, *CAUSES]),
        value=draw.choice([None, 0.0, 0.004, 0.3, 20.0, 900.0]),
        ref="q1/k",
    )


@pytest.mark.parametrize("seed", range(5))
def test_every_counter_and_histogram_agrees_with_the_event_log(seed: int) -> None:
    metrics, events = Metrics(), EventList()
    log = tee(metrics.record, log_to(events, Lane.VIRTUAL, Role.SERVER, "server"))
    draw = random.Random(seed)
    for _ in range(3000):
        log(anything(draw))
    assert_agrees(metrics, events)


def test_the_recount_leaves_no_metric_of_the_quiz_out() -> None:
    shown = exposed(Metrics().exposition()[1])
    ours = {name for name in shown if name.startswith("quiz_") and name != "quiz_build_info"}
    assert ours == set(recounted([], shown)) | FED_BY_CALLS


def test_a_recount_of_another_log_does_not_agree() -> None:
    metrics = Metrics()
    metrics.record(Record(LogEventKind.SESSION_EXPIRED, 1.0, "p1"))
    with pytest.raises(AssertionError, match="quiz_cleanups"):
        assert_agrees(metrics, [])


def test_what_peers_say_makes_no_new_series() -> None:
    metrics = Metrics()
    before = metrics.exposition()[1].count(b"\nquiz_")
    for code in range(3000, 4000):
        metrics.record(Record(LogEventKind.SESSION_DETACHED, 1.0, f"p{code}", cause=f"close_{code}"))
        metrics.record(Record(LogEventKind.RESUME_REFUSED, 1.0, cause=f"reason {code}"))
    assert metrics.exposition()[1].count(b"\nquiz_") == before
    assert value(metrics, "quiz_connection_losses", "quiz_connection_losses_total", cause="other") == 1000
    assert b"p3500" not in metrics.exposition()[1]


def test_a_client_that_lies_about_its_attempts_spoils_no_sum() -> None:
    metrics = Metrics()
    metrics.record(Record(LogEventKind.SESSION_CREATED, 1.0, "p1", attempt=2**53, outcome="created"))
    total = value(metrics, "quiz_attempts_per_success", "quiz_attempts_per_success_sum", outcome="created")
    assert total == MAX_ATTEMPTS


def test_who_is_here_is_asked_for_at_the_scrape() -> None:
    metrics = Metrics()
    assert b"quiz_participants" not in metrics.exposition()[1]
    states = {"connected": 3}
    metrics.watch(House(states, 5), lambda: 0.25)
    states["temporarily_disconnected"] = 2
    people = {s: value(metrics, "quiz_participants", "quiz_participants", state=s) for s in (*states, "disconnected")}
    assert people == {"connected": 3, "temporarily_disconnected": 2, "disconnected": 0}
    assert value(metrics, "quiz_connections", "quiz_connections") == 5
    assert value(metrics, "quiz_loop_lag_max_seconds", "quiz_loop_lag_max_seconds") == 0.25


def test_several_servers_of_one_process_keep_their_numbers_apart() -> None:
    one, other = Metrics(), Metrics()
    one.record(Record(LogEventKind.SESSION_LEFT, 1.0, "p1"))
    assert value(one, "quiz_leaves", "quiz_leaves_total") == 1
    assert value(other, "quiz_leaves", "quiz_leaves_total") == 0
    assert not [metric for metric in REGISTRY.collect() if metric.name.startswith("quiz_")]


def test_commits_are_observed_with_rows_and_seconds() -> None:
    metrics = Metrics()
    metrics.observe_commit(12, 0.004)
    metrics.observe_commit(1, 0.5)
    assert value(metrics, "quiz_commit_rows", "quiz_commit_rows_sum") == 13
    assert value(metrics, "quiz_commit_seconds", "quiz_commit_seconds_bucket", le="0.005") == 1


def test_open_metrics_is_spoken_to_who_asks_for_it() -> None:
    metrics = Metrics()
    metrics.record(Record(LogEventKind.SESSION_CREATED, 1.0, "p1", outcome="created", value=0.01))
    content_type, body = metrics.exposition("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert content_type.startswith("application/openmetrics-text")
    families = {family.name for family in open_metrics(body.decode())}  # type: ignore[no-untyped-call]
    assert families >= {"quiz_joins", "quiz_join_seconds", "quiz_build"}
    assert metrics.exposition()[0].startswith("text/plain; version=0.0.4")


def test_the_build_and_the_process_are_exposed() -> None:
    shown = exposed(Metrics().exposition()[1])
    ((_, labels),) = shown["quiz_build_info"]
    assert dict(labels)["version"] == resilience.__version__
    assert any(name.startswith("python_") for name in shown)


def test_the_exposition_has_no_created_samples() -> None:
    assert b"_created" not in Metrics().exposition("application/openmetrics-text")[1].replace(b'"created"', b"")


def cost(log: RecordSink, records: list[Record]) -> float:
    """Seconds for one record; the best of five, since a busy machine can only make it worse."""
    best = float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for record in records:
            log(record)
        best = min(best, time.perf_counter() - began)
    return best / len(records)


@pytest.mark.bench
def test_a_record_costs_little_compared_with_its_line_in_the_event_log() -> None:
    draw, encoder = random.Random(1), msgspec.json.Encoder()
    records = [anything(draw) for _ in range(20_000)]
    counting = cost(Metrics().record, records)
    encoding = cost(lambda record: void(encoder.encode(event_of(record, Lane.REAL, Role.SERVER, "s"))), records)
    Console().print(f"metrics: {counting * 1e6:.2f} us a record, {counting / encoding:.2f} of encoding its event")
    assert counting < 3e-6


def void(_: object) -> None:
    """Drop a value."""
