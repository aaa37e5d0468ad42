"""How soon an answer is durable and acknowledged, and how many a second, compared with a bare server's echo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.benchmarks.conftest import RecordRows
from tests.benchmarks.lab.processes import LoadProcess, bare, product, quiz
from tests.benchmarks.lab.results import Row, middle, rank, spread

LIMIT = 0.1
TEXT = '{"type":"answer","question":"q12","choice":0,"key":"k12345"}'

Replies = list[dict[str, Any]]


def both(
    folder: Path, count: int, over: float, rounds: int, *, lobby: float, question: float
) -> tuple[Replies, Replies]:
    """The same crowd at both servers: so many questions, each answered over ``over`` seconds, and echoes in between."""
    settings = quiz(questions=rounds, lobby=lobby, question_time=question)
    ours, plain = [], []
    with bare() as reference, LoadProcess(reference, count) as echoing:
        echoing.ask("dial", say="echo")
        with product(folder, settings) as server, LoadProcess(server, count) as load:
            found = load.ask("dial", say="join")
            assert found["arrived"] == count, found
            for i in range(rounds):
                ours.append(load.ask("answer", spread=over, seed=i, within=lobby + question + 5))
                plain.append(echoing.ask("say", text=TEXT, spread=over, seed=i))
    assert {len(reply["latencies"]) for reply in (*ours, *plain)} == {count}, "not every answer was acknowledged"
    return ours, plain


def latency(
    folder: Path, count: int, rounds: int, *, over: float = 1.0, lobby: float = 8.0, question: float = 5.0
) -> list[Row]:
    """Answers spread over a while, each timed from the moment it was to be sent."""
    ours, plain = both(folder, count, over, rounds, lobby=lobby, question=question)
    mine, other = ([rank(reply["latencies"], 0.99) for reply in replies] for replies in (ours, plain))
    half = middle([rank(reply["latencies"], 0.5) for reply in ours])
    return [
        Row(
            f"durable answer acknowledged, {count:,} clients within {over:g} s",
            f"p99 {middle(mine) * 1e3:.1f} ms, p50 {half * 1e3:.1f} ms",
            f"bare echo p99 {middle(other) * 1e3:.1f} ms",
            middle(mine) / middle(other),
            spread([second * 1e3 for second in mine], "{:.1f} ms"),
            f"p99 under {LIMIT * 1e3:.0f} ms",
            middle(mine) < LIMIT,
        )
    ]


def rate(folder: Path, count: int, rounds: int, *, lobby: float = 15.0, question: float = 8.0) -> list[Row]:
    """All clients answer at once: acknowledgements a second until the last."""
    ours, plain = both(folder, count, 0.0, rounds, lobby=lobby, question=question)
    mine, other = ([count / reply["seconds"] for reply in replies] for replies in (ours, plain))
    return [
        Row(
            f"durable answers acknowledged a second, {count:,} at once",
            f"{middle(mine):,.0f}/s",
            f"bare echo {middle(other):,.0f}/s",
            middle(mine) / middle(other),
            spread(mine, "{:,.0f}/s"),
            "reported",
            True,
        )
    ]


def test_a_few_answers_are_timed(tmp_path: Path) -> None:
    (row,) = latency(tmp_path, 20, 1, over=0.1, lobby=0.3, question=1.0)
    assert row.ratio is not None
    assert row.ratio > 0


@pytest.mark.bench
@pytest.mark.timeout(300)
def test_latency_of_durable_answers(tmp_path: Path, record_rows: RecordRows) -> None:
    record_rows(latency(tmp_path, 1000, 7))


@pytest.mark.bench
@pytest.mark.timeout(300)
def test_rate_of_durable_answers(tmp_path: Path, record_rows: RecordRows) -> None:
    record_rows(rate(tmp_path, 5000, 5))
