"""Turns records into numbers for Prometheus. One record sink among others; decides nothing, knows no sockets.

Counters follow the records, so they agree with the event log by construction. Gauges are read from their source at each
scrape, so they cannot drift.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Protocol

from prometheus_client import CollectorRegistry, Info, Metric, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.metrics_core import GaugeMetricFamily
from prometheus_client.registry import Collector

import resilience
from resilience.eventlog.vocabulary import DetachCause, LogEventKind
from resilience.protocol.effects import Record
from resilience.protocol.messages import PROTOCOL_VERSION
from resilience.protocol.states import ConnectionState
from resilience.server.instruments import Instruments
from resilience.units import Instant, Seconds

MAX_ATTEMPTS = 100
"""A client's own count is clipped to this, so that no peer can distort a sum."""

MAX_EXPOSITION_AGE_S: Seconds = 1.0
"""A scraper that asks more often receives the same numbers again."""

_OPENMETRICS = "application/openmetrics-text"

RecordHandler = Callable[[Record], None]


class GaugeSource(Protocol):
    """The current numbers of rooms and gateway, read at each scrape, on the loop."""

    def states(self) -> Mapping[str, int]:
        """Participants by connection state, over all events; an empty state may be left out."""

    def connections(self) -> int:
        """Open sockets, including those before their first message."""


class Metrics:
    """One server's metrics; ``record`` is a :data:`~resilience.runtime.RecordSink`. Several may live in one process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._made = Instruments(self.registry)
        self._handlers = _handlers(self._made)
        self._gauges = _ScrapeGauges()
        self.registry.register(self._gauges)
        self._about()

    def record(self, record: Record) -> None:
        """Count one record."""
        handler = self._handlers.get(record.kind)
        if handler is not None:
            handler(record)

    def observe_commit(self, rows: int, seconds: Seconds) -> None:
        """Count a commit of ``rows`` rows that took ``seconds``, stored or not."""
        self._made.commit_rows(rows)
        self._made.commit_time(seconds)

    def observe_lag(self, lag: Seconds) -> None:
        """Observe the delay of a timer, seconds."""
        self._made.lag(lag)

    def watch(self, source: GaugeSource, worst_lag: Callable[[], Seconds] | None = None) -> None:
        """Register the sources read at scrape time. A gauge without a source is omitted rather than exported as 0."""
        self._gauges.source, self._gauges.worst_lag = source, worst_lag

    def exposition(self, accept: str = "") -> tuple[str, bytes]:
        """Content type and body of ``/metrics``: the text format, or OpenMetrics for a scraper that accepts it."""
        encode, content_type = choose_encoder(accept)
        return content_type, encode(_WithoutCreatedSamples(self.registry))

    def _about(self) -> None:
        about = {
            "version": resilience.__version__,
            "protocol": str(PROTOCOL_VERSION),
            "python": platform.python_version(),
        }
        Info("quiz_build", "Versions of this server.", registry=self.registry).info(about)
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        GCCollector(registry=self.registry)


class CachedExposition:
    """The exposition of a server's metrics, made at most once per ``MAX_EXPOSITION_AGE_S`` in each of its two formats.

    It costs milliseconds of the event loop, more with many participants, and anybody may ask for it.
    """

    def __init__(self, metrics: Metrics, now: Callable[[], Instant]) -> None:
        self._metrics, self._now = metrics, now
        self._made: dict[str, tuple[Instant, tuple[str, bytes]]] = {}

    def __call__(self, accept: str = "") -> tuple[str, bytes]:
        """Content type and body: OpenMetrics 1.0.0 if the ``Accept`` header names it, else the text format."""
        now, wanted = self._now(), _OPENMETRICS if _accepts_openmetrics(accept) else ""
        made = self._made.get(wanted)
        if made is None or now - made[0] >= MAX_EXPOSITION_AGE_S:
            made = self._made[wanted] = now, self._metrics.exposition(wanted)
        return made[1]


def _accepts_openmetrics(accept: str) -> bool:
    for media_range in accept.split(","):
        media_type, *parameters = (part.strip() for part in media_range.split(";"))
        versions = [value for value in parameters if value.startswith("version=")]
        if media_type == _OPENMETRICS and versions in ([], ["version=1.0.0"]):
            return True
    return False


class _ScrapeGauges(Collector):
    """Gauges that are read from the source at each scrape."""

    source: GaugeSource | None = None
    worst_lag: Callable[[], Seconds] | None = None

    def describe(self) -> Iterator[Metric]:
        for name in ("quiz_participants", "quiz_connections", "quiz_loop_lag_max_seconds"):
            yield GaugeMetricFamily(name, "")

    def collect(self) -> Iterator[Metric]:
        if self.source is not None:
            counted = self.source.states()
            people = GaugeMetricFamily("quiz_participants", "Participants by connection state.", labels=["state"])
            for state in ConnectionState:
                people.add_metric([state.value], counted.get(state.value, 0))
            yield people
            sockets = self.source.connections()
            yield GaugeMetricFamily(
                "quiz_connections", "Open sockets, hosts and connections before their first message included.", sockets
            )
        if self.worst_lag is not None:
            worst = self.worst_lag()
            yield GaugeMetricFamily("quiz_loop_lag_max_seconds", "The worst loop lag of the last minute.", worst)


class _WithoutCreatedSamples(Collector):
    """A registry without the ``_created`` series, which add half as many again and which few scrapers use."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            metric.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield metric


def _handlers(made: Instruments) -> Mapping[LogEventKind, RecordHandler]:
    """The metrics to change for each kind of record."""

    def plainly(inc: Callable[[], None]) -> RecordHandler:
        return lambda _: inc()

    folds = {kind: plainly(inc) for kind, inc in made.plain.items()}
    folds[LogEventKind.SESSION_CREATED] = _arrival(made, plainly(made.plain[LogEventKind.SESSION_CREATED]), made.join)
    folds[LogEventKind.SESSION_RESUMED] = _arrival(made, lambda r: made.reconnections.count(r.outcome), made.restore)
    return folds | {
        LogEventKind.HEARTBEAT_ACKED: _measured(made.round_trip),
        LogEventKind.SESSION_DETACHED: _lost(made),
        LogEventKind.RESUME_REFUSED: lambda r: made.reconnections.count(f"refused_{r.cause}"),
        LogEventKind.ANSWER_COMMITTED: lambda r: made.answers.count(r.outcome),
        LogEventKind.ANSWER_REPLIED: lambda r: made.answers.count(r.outcome),
        LogEventKind.JOIN_SHED: lambda r: made.shed.count(r.cause),
        LogEventKind.CONNECTION_REFUSED: lambda r: made.refused.count(r.cause),
        LogEventKind.MESSAGE_REFUSED: lambda r: made.messages_refused.count(r.cause),
        LogEventKind.HOST_ORDERED: lambda r: made.host_orders.count(r.outcome),
        LogEventKind.SERVER_STARTED: _started(made),
        LogEventKind.SERVER_DRAINING: lambda _: made.draining(1),
    }


def _arrival(made: Instruments, count: RecordHandler, time: Callable[[float], None]) -> RecordHandler:
    def fold(record: Record) -> None:
        count(record)
        if record.value is not None:
            time(record.value)
        observe = made.attempts.get(record.outcome)
        if observe is not None and record.attempt is not None:
            observe(min(record.attempt, MAX_ATTEMPTS))

    return fold


def _measured(observe: Callable[[float], None]) -> RecordHandler:
    def fold(record: Record) -> None:
        if record.value is not None:
            observe(record.value)

    return fold


def _lost(made: Instruments) -> RecordHandler:
    def fold(record: Record) -> None:
        made.losses.count(record.cause)
        if record.cause == DetachCause.GRACE:
            made.grace_expirations()

    return fold


def _started(made: Instruments) -> RecordHandler:
    def fold(record: Record) -> None:
        made.starts.count(record.outcome)
        made.recovered(record.value or 0.0)

    return fold
