"""How a campaign looks on a terminal: a line per round, a table of verdicts. Starts nothing."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from .campaign import Round
from .verdict import Report, Spread

_STYLES = {"pass": "green", "fail": "bold red", "inconclusive": "yellow"}


def line_of(this: Round, rounds: int) -> str:
    """One round."""
    back = list(this.back.values())
    mean, last = (sum(back) / len(back), max(back)) if back else (0.0, 0.0)
    return (
        f"round {this.number:>{len(str(rounds))}}/{rounds}  killed at {this.killed_at:7.2f} s ({this.aim:<7})  "
        f"answers in flight {len(this.in_flight):>4}  all {len(back)} back after {last:.2f} s, on average {mean:.2f} s"
    )


def figures_of(report: Report) -> list[str]:
    """The campaign in a few lines."""
    verdicts = ", ".join(f"{n} {what}" for what, n in report.in_flight_verdicts.items()) or "none"
    rounds = f"{report.rounds} of {report.rounds_planned} rounds, {report.clients} clients, {report.database}"
    flights = (
        f"answers in flight in {report.rounds_with_answers_in_flight} of {report.rounds} rounds: {report.in_flight}"
    )
    return [
        f"{rounds}, seed {report.seed}, {report.wall_s:.0f} s",
        f"{report.acknowledged:,} answers acknowledged",
        f"{flights}; what became of them: {verdicts}",
        f"back, from the kill:               {_told(report.recovery_s)}",
        f"back, from the new server's start: {_told(report.since_listening_s)}",
        f"server away:                       {_told(report.down_s)}",
    ]


def table_of(report: Report) -> Table:
    """Every check and what it found."""
    table = Table("", "rule", "checked", "found", box=None, pad_edge=False)
    for item in report.checks:
        mark = Text(item.verdict.value, style=_STYLES[item.verdict.value])
        table.add_row(mark, Text(item.rule), f"{item.checked:,}", Text(item.detail))
    return table


def _told(spread: Spread | None) -> str:
    if spread is None:
        return "nobody"
    parts = {"mean": spread.mean, "p50": spread.p50, "p95": spread.p95, "max": spread.max}
    return ", ".join(f"{name} {value:.2f} s" for name, value in parts.items()) + f" (n={spread.n})"
