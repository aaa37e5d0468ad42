"""What a run's console shows: the verdict, what does not hold, what the laboratory objects to."""

from __future__ import annotations

import io

import msgspec
from rich.console import Console

from reports.cli import print_summary
from reports.render import to_markdown
from reports.summary import Laboratory, ReferenceReturns, Summary
from resilience.eventlog.vocabulary import Verdict

from ..support.log_builder import clean_history
from ..support.summaries import failing_history, summary_of


def _printed(summary: Summary) -> str:
    out = io.StringIO()
    print_summary(summary, Console(file=out, width=10_000))
    return out.getvalue()


def test_the_console_prints_only_what_does_not_hold() -> None:
    """The broken rule with its counterexample, and how many others hold or do not apply."""
    summary, _ = summary_of(failing_history())
    broken = [item for item in summary.invariants if item.verdict in (Verdict.FAIL, Verdict.INCONCLUSIVE)]
    hold, idle = (sum(item.verdict is v for item in summary.invariants) for v in (Verdict.PASS, Verdict.NOT_APPLICABLE))
    text = _printed(summary)
    assert f"{hold} checks hold, {idle} do not apply" in text
    assert broken[0].verdict is Verdict.FAIL
    assert [line for line in text.splitlines() if line.startswith(("✗", "?"))] == [
        f"{'✗' if item.verdict is Verdict.FAIL else '?'} {item.rule} ({item.checked:,}): {item.detail}"
        for item in broken
    ]
    assert "✓" not in text


def test_the_console_prints_what_the_laboratory_objects_to() -> None:
    """Doubts and warnings once each, and nothing of a laboratory without any."""
    summary, _ = summary_of(clean_history(clients=60))
    assert "laboratory" not in _printed(summary)
    lab = Laboratory(doubts=("worker 1 was late", "worker 2 was late"), warnings=("the load was 7",))
    doubted = msgspec.structs.replace(
        summary, laboratory=lab, verdict=Verdict.INCONCLUSIVE, reasons=("worker 1 was late", "worker 2 was late")
    )
    text = _printed(doubted)
    assert text.splitlines()[0].endswith("the run is inconclusive: worker 1 was late.")
    for words in ("worker 1 was late", "laboratory doubt: worker 2 was late", "laboratory warning: the load was 7"):
        assert text.count(words) == 1


def test_every_report_says_what_bare_clients_took() -> None:
    """With their share of the run's own mean; nothing where that was not measured."""
    summary, _ = summary_of(clean_history(clients=60))
    assert "Reference:" not in _printed(summary) + to_markdown(summary)
    measured = ReferenceReturns(
        clients=60,
        storms=2,
        returned=119,
        excess_mean=0.5,
        excess_p95=0.9,
        excess_last=1.1,
        cpu_s={"clients": 0.001, "server": 0.0005},
        share=0.25,
    )
    said = (
        "Reference: before the run, 119 of 120 bare clients returned through the same proxies, on average 0.500 s "
        "after the cut, 95 % within 0.900 s, the last after 1.10 s, with 1.5 ms of processor time each: 25 % of the "
        "2.00 s that the run's own clients took on average."
    )
    lab = msgspec.structs.replace(summary.laboratory, reference=measured)
    changed = msgspec.structs.replace(summary, laboratory=lab)
    assert said in " ".join(_printed(changed).split())
    assert said in to_markdown(changed)


def test_the_console_says_how_the_system_ended() -> None:
    """Which no table has, in the line below the verdict."""
    summary, _ = summary_of(failing_history())
    death = "the server ended by itself (SIGKILL) at 14.0 s"
    text = _printed(msgspec.structs.replace(summary, reasons=(death, *summary.reasons)))
    assert text.splitlines()[1] == death
    assert _printed(summary).splitlines()[1].startswith("At least")


def test_the_sentence_of_a_run_that_only_its_server_failed_says_how() -> None:
    """No target was missed and no invariant broken, so there is nothing to count."""
    summary, _ = summary_of(clean_history(clients=60))
    death = "the server ended by itself (SIGKILL) at 14.0 s"
    text = _printed(msgspec.structs.replace(summary, verdict=Verdict.FAIL, reasons=(death,)))
    assert text.splitlines()[0].endswith(f"came back by themselves (100 %); {death}.")
    assert text.count(death) == 1


def test_the_console_of_a_failed_laboratory_gives_no_verdict() -> None:
    summary, _ = summary_of(clean_history(clients=60))
    failed = msgspec.structs.replace(summary, laboratory=Laboratory(failures=("events/clients-1.jsonl is missing",)))
    assert _printed(failed).startswith(
        " HARNESS FAILED  This run says nothing about the system: events/clients-1.jsonl is missing."
    )
    assert _printed(failed).count("is missing") == 1
