"""How soon a question reaches all clients, and how few frames they receive when other clients drop and return."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from resilience.eventlog.vocabulary import LogEventKind
from tests.benchmarks.conftest import RecordRows
from tests.benchmarks.lab.processes import LIMITS, LOBBY, LoadProcess, bare, product, quiz
from tests.benchmarks.lab.results import Row, middle, spread
from tests.support.stored_lines import read_events

OPENED = '{"type":"question_opened"'
SLOWER = 1.5
FRAMES_A_SECOND = 4


def measure(folder: Path, count: int, rounds: int, *, lobby: float = 20.0, calm: float = 0.7) -> list[Row]:
    """From the decision to open a question (as the event log has it) to the last client; bare broadcasts in between."""
    settings, epoch = quiz(questions=rounds, lobby=lobby, question_time=2.5), time.monotonic()
    (folder / "events").mkdir()
    ours, plain = [], []
    with bare() as reference, LoadProcess(reference, count) as listening:
        listening.ask("dial", say="echo")
        flags = ("--event-log", str(folder / "events" / "server.jsonl"), "--epoch", repr(epoch))
        with product(folder, settings, *flags) as server, LoadProcess(server, count) as load:
            found = load.ask("dial", say="join")
            assert found["arrived"] == count, found
            for _ in range(rounds):
                question = load.ask("collect", kind=OPENED, count=count, within=lobby + 10)
                assert question["count"] == count, question
                ours.append(question["last"])
                time.sleep(calm)
                listening.ask("order", text=f"broadcast {len(question['text'])}")
                heard = listening.ask("collect", kind="at ", count=count, within=10)
                assert heard["count"] == count, heard
                plain.append(heard["last"] - float(heard["text"].split()[1]))
    opened = [event.t for event in read_events(folder) if event.kind is LogEventKind.QUESTION_OPENED]
    took = [last - epoch - at for last, at in zip(ours, opened, strict=True)]
    ratios = [own / other for own, other in zip(took, plain, strict=True)]
    return [
        Row(
            f"question to the last of {count:,}",
            f"{middle(took) * 1e3:.0f} ms",
            f"bare broadcast() of the same size {middle(plain) * 1e3:.0f} ms",
            middle(ratios),
            spread(ratios),
            f"at most {SLOWER}",
            middle(ratios) <= SLOWER,
        )
    ]


def churn(folder: Path, steady: int, flapping: int, over: float, *, hidden: float = 1.0) -> list[Row]:
    """Clients drop and come back; the others, which see all participants, count the presence frames.

    ``hidden`` is the server's own setting: how long an absence must last to be shown, seconds.
    """
    settings = f"{LIMITS}participants_cap = 100000\nflap_hidden = {hidden}\n{LOBBY.removeprefix(LIMITS)}"
    with product(folder, settings) as server, LoadProcess(server, steady + flapping) as load:
        found = load.ask("dial", say="join")
        assert found["arrived"] == steady + flapping, found
        time.sleep(2 * hidden)
        seen = load.ask("flap", count=flapping, over=over, away=(hidden / 5, 2.5 * hidden), shown=1.5 * hidden, seed=1)
    assert seen["returned"] == flapping, seen
    frames, busiest = seen["frames"], seen["in_a_second"]
    return [
        Row(
            f"presence frames per receiver, {flapping:,} flaps in {over:g} s",
            f"{frames} in all, at most {busiest} in any second",
            f"one frame a change: {2 * flapping:,}",
            frames / (2 * flapping),
            "1 round",
            f"at most {FRAMES_A_SECOND} in any second, all back",
            0 < busiest <= FRAMES_A_SECOND,
        )
    ]


def test_a_question_to_a_few_is_timed(tmp_path: Path) -> None:
    (row,) = measure(tmp_path, 20, 1, lobby=3.0, calm=0.1)
    assert row.ratio is not None
    assert row.ratio > 0


def test_the_churn_of_a_few_is_counted(tmp_path: Path) -> None:
    (row,) = churn(tmp_path, 5, 20, 0.2, hidden=0.3)
    assert row.ratio is not None
    assert row.ratio > 0


@pytest.mark.bench
@pytest.mark.timeout(300)
def test_question_to_all_clients(tmp_path: Path, record_rows: RecordRows) -> None:
    record_rows(measure(tmp_path, 5000, 7))


@pytest.mark.bench
@pytest.mark.timeout(120)
def test_presence_churn(tmp_path: Path, record_rows: RecordRows) -> None:
    record_rows(churn(tmp_path, 200, 1000, 2.0))
