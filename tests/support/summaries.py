"""Histories with their summaries and charts, for tests of what a report shows."""

from __future__ import annotations

from reports.episodes import episodes_frame
from reports.metrics import summarise
from reports.run_charts import run_charts
from reports.summary import Summary
from reports.svg import Chart
from resilience.eventlog.vocabulary import LogEventKind

from .log_builder import TARGET, LogBuilder, experiment


def summary_of(history: LogBuilder) -> tuple[Summary, list[Chart]]:
    log = history.log()
    episodes = episodes_frame(log)
    summary = summarise(log, episodes)
    return summary, run_charts(log, episodes, summary)


def failing_history() -> LogBuilder:
    """Half of forty clients give up, one is announced twice."""
    history = LogBuilder(experiment(expectations=(TARGET,), clients=40))
    names = [f"c{i:02d}" for i in range(40)]
    for who in names:
        history.join(who)
    history.fault("0.0:cut@alpha", 10.0, 10.0)
    for i, who in enumerate(names):
        history.lose(who, 10.0)
        if i % 2:
            history.dial(who, 10.5)
            history.client(11.0, who, LogEventKind.TRANSPORT_FAILED, cause="refused").give_up(who, 12.0)
        else:
            history.back(who, 11.0)
    history.server(40.0, "c01", LogEventKind.PARTICIPANT_ANNOUNCED)
    return history.end()
