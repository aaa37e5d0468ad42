"""What pages showed is measured from their own records, and what they called saved is compared with what was kept."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest

from reports.episodes import episodes_frame
from reports.findings import kept_promises, shown_rows
from reports.metrics import summarise
from reports.page_summary import PageResults, ShownDelay
from reports.render import to_html, to_markdown
from reports.shown_states import page_results
from resilience.eventlog.vocabulary import LogEventKind as K
from resilience.experiment.faults import CutFault
from resilience.experiment.spec import Cohort
from resilience.lab.stored_run import StoredRun
from resilience.quiz.game import QuizState, StoredAnswer
from resilience.quiz.phases import Phase
from resilience.quiz.plan import QuizPlan
from resilience.quiz.questions import Question

from ..support.log_builder import LogBuilder, experiment

PAGE, PROGRAM = "pages-0001", "programs-0001"
PLAN = QuizPlan((Question("q1", "?", ("a", "b"), 0, 10.0),))


def builder(driver: str | None = "chromium") -> LogBuilder:
    """A page and a program, both cut at 10 s."""
    cohorts = (Cohort("pages", 1, driver=driver), Cohort("programs", 1))
    faults = (CutFault(10.0, ("pages", "programs")),)
    made = LogBuilder(msgspec.structs.replace(experiment(), cohorts=cohorts, faults=faults))
    for cohort in ("pages", "programs"):
        made.join(f"{cohort}-0001", cohort=cohort).fault(f"0.0:cut@{cohort}", 10.0, 10.0)
        made.lose(f"{cohort}-0001", 10.1)
    return made.back(PROGRAM, 10.5)


def shows(made: LogBuilder, t: float, state: str, **fields: object) -> LogBuilder:
    return made.client(t, PAGE, K.CLIENT_SHOWN, outcome=state, **fields)


def results(made: LogBuilder, stored: StoredRun | None = None) -> PageResults:
    log = replace(made.end().log(), stored=stored)
    found = page_results(log, episodes_frame(log))
    assert found is not None
    return found


def stored(*answers: tuple[str, str]) -> StoredRun:
    """A database with these answers of the page: question and key."""
    rows = tuple(StoredAnswer(f"p-{PAGE}", question, key, 0, 5.0, 0) for question, key in answers)
    return StoredRun(PLAN, QuizState(Phase.QUESTION, 0, 1), {f"p-{PAGE}": 0}, rows, 1)


def once(seconds: float) -> ShownDelay:
    return ShownDelay(n=1, least=seconds, median=seconds, most=seconds)


def rounded(found: ShownDelay) -> ShownDelay:
    return ShownDelay(n=found.n, **{name: round(getattr(found, name), 6) for name in ("least", "median", "most")})


def test_a_banner_is_timed_from_the_fault_and_its_end_from_the_heal() -> None:
    made = shows(shows(builder(), 11.25, "amber"), 13.5, "live")
    (row,) = results(made.back(PAGE, 13.4)).by_fault
    assert (row.fault, row.episodes, row.to_red_s) == ("cut", 1, ShownDelay(n=0))
    assert (rounded(row.to_amber_s), rounded(row.to_live_s)) == (once(1.25), once(3.5))


def test_a_page_that_gives_up_turns_red() -> None:
    made = shows(shows(builder(), 11.0, "amber"), 30.0, "red")
    (row,) = results(made.give_up(PAGE, 30.0)).by_fault
    assert (rounded(row.to_red_s), row.to_live_s) == (once(20.0), ShownDelay(n=0))


def test_an_outage_without_a_banner_has_no_time() -> None:
    (row,) = results(builder().back(PAGE, 10.6)).by_fault
    assert (row.episodes, row.to_amber_s) == (1, ShownDelay(n=0))


def test_a_banner_of_another_outage_is_not_this_ones() -> None:
    made = shows(shows(builder().back(PAGE, 10.6), 40.0, "amber"), 41.0, "live")
    (row,) = results(made).by_fault
    assert row.to_amber_s.n == 0


def test_a_run_of_programs_alone_has_no_page() -> None:
    log = builder(None).back(PAGE, 11.0).end().log()
    assert page_results(log, episodes_frame(log)) is None


def test_accepted_answers_are_looked_up_in_the_database() -> None:
    made = builder().back(PAGE, 11.0).answer(PAGE, 20.0, "q1").answer(PAGE, 30.0, "q2")
    kept = results(made, stored(("q1", f"{PAGE}-q1")))
    assert (kept.answers, kept.lost, kept.counted_twice) == (2, 1, 0)
    assert "2 answers accepted, 0 counted twice, 1 of them lost" in kept_promises(kept)


@pytest.mark.parametrize("key, twice", [("another", 1), (f"{PAGE}-q1", 0)])
def test_two_accepted_answers_to_one_question_are_counted_twice(key: str, twice: int) -> None:
    """Of one key the second verdict is the first one again; of another one a second answer counts."""
    made = builder().back(PAGE, 11.0).answer(PAGE, 20.0, "q1").answer(PAGE, 30.0, "q2")
    made.client(31.0, PAGE, K.ANSWER_ACKED, ref=f"q1/{key}", outcome="accepted")
    assert results(made).counted_twice == twice


def test_without_a_database_nothing_is_said_of_losses() -> None:
    found = results(builder().back(PAGE, 11.0).answer(PAGE, 20.0))
    assert (found.answers, found.lost, found.counted_twice) == (1, None, 0)
    assert "no database was kept" in kept_promises(found)


def promised(made: LogBuilder, ref: str | None) -> LogBuilder:
    """The page answers while it is away, and calls that saved, or its place."""
    if ref is not None:
        made.client(11.0, PAGE, K.ANSWER_SUBMITTED, ref=ref)
    return shows(made, 11.5, "amber", ref=ref, detail=None if ref else "progress saved")


def test_a_saved_answer_that_reaches_the_server_is_kept() -> None:
    made = promised(builder(), "q1/k1").back(PAGE, 13.0)
    made.client(13.1, PAGE, K.ANSWER_ACKED, ref="q1/k1", outcome="rejected_late")
    found = results(made, stored())
    assert (found.said_saved, found.falsely_saved) == (1, 0)


def test_a_saved_answer_of_which_nothing_is_heard_was_not_saved() -> None:
    found = results(promised(builder(), "q1/k1").back(PAGE, 13.0), stored())
    assert (found.said_saved, found.falsely_saved) == (1, 1)


@pytest.mark.parametrize("verdict, said", [(None, 0), ("rejected_late", 1)])
def test_without_a_database_only_a_verdict_tells_that_a_saved_answer_was_lost(verdict: str | None, said: int) -> None:
    made = promised(builder(), "q1/k1").back(PAGE, 13.0)
    if verdict is not None:
        made.client(13.1, PAGE, K.ANSWER_ACKED, ref="q1/k1", outcome=verdict)
    found = results(made)
    assert (found.said_saved, found.falsely_saved) == (said, 0)


def test_a_saved_place_is_gone_when_the_page_comes_back_as_another_participant() -> None:
    kept = results(promised(builder(), None).back(PAGE, 13.0))
    lost = results(promised(builder(), None).dial(PAGE, 12.9, 12.95).become_new(PAGE, 13.0))
    assert [(found.said_saved, found.falsely_saved) for found in (kept, lost)] == [(1, 0), (1, 1)]


def test_a_page_that_stays_away_proves_nothing_about_its_promise() -> None:
    assert results(promised(builder(), "q1/k1")).said_saved == 0


def test_a_report_shows_what_pages_showed() -> None:
    made = shows(shows(builder(), 11.25, "amber"), 13.5, "live").back(PAGE, 13.4).answer(PAGE, 20.0)
    log = made.end().log()
    summary = summarise(log, episodes_frame(log))
    assert summary.pages is not None
    assert shown_rows(summary.pages)[0][:4] == ("cut", "1", "1", "1.25 s (at most 1.25 s, n = 1)")
    markdown, page = to_markdown(summary), to_html(summary, [])
    assert 'href="#pages"' in page
    for words in ("fault to amber", "1 answer accepted", "1.25 s (at most 1.25 s, n = 1)"):
        assert words in markdown
        assert words in page


def test_a_report_without_pages_has_no_such_section() -> None:
    log = builder(None).back(PAGE, 11.0).end().log()
    summary = summarise(log, episodes_frame(log))
    assert summary.pages is None
    assert "fault to amber" not in to_markdown(summary) + to_html(summary, [])
