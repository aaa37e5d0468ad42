"""Cohorts of different programs in one run: each client is judged by the evidence that its own program leaves."""

from __future__ import annotations

import msgspec
import pytest

from reports.episodes import episodes_frame
from reports.frames import RunHistory
from reports.metrics import summarise
from reports.summary import Summary
from resilience.eventlog.vocabulary import Verdict
from resilience.experiment.drivers import StdioDriver
from resilience.experiment.faults import CutFault
from resilience.experiment.spec import Cohort

from ..support.log_builder import LogBuilder, experiment

BOTH = ("alpha", "beta")


def builder(driver: str) -> LogBuilder:
    """Two participants who are cut at 10 s, the second one of another program."""
    cohorts = (Cohort("alpha", 1), Cohort("beta", 1, driver=driver))
    own = {"own": StdioDriver(("a-driver",))}
    chosen = msgspec.structs.replace(
        experiment((CutFault(10.0, ("alpha",)),), clients=1, duration=60.0),
        cohorts=cohorts,
        faults=(CutFault(10.0, BOTH),),
        drivers=own,
    )
    made = LogBuilder(chosen)
    for cohort in BOTH:
        made.join(f"{cohort}-0001", cohort=cohort).fault(f"0.0:cut@{cohort}", 10.0, 10.0)
    return made


def returned(driver: str, holds: str | None) -> RunHistory:
    """Both come back; the second with a state that ``holds`` other values than the server computes, if any."""
    made = builder(driver)
    for who in ("alpha-0001", "beta-0001"):
        made.lose(who, 10.1).dial(who, 10.5, 10.6)
    made.restore("alpha-0001", 11.0).restore("beta-0001", 11.0, holds=holds)
    return made.end().log()


def judged(run: RunHistory) -> Summary:
    return summarise(run, episodes_frame(run))


def outcomes(run: RunHistory) -> dict[str, str]:
    return {str(row["cohort"]): str(row["outcome"]) for _, row in episodes_frame(run).iterrows()}


@pytest.mark.parametrize(
    "driver, holds, outcome",
    [
        ("chromium", None, "restored"),
        ("chromium", "another state", "corrupt"),
        ("fleet", "another state", "corrupt"),
        ("own", "another state", "restored"),
    ],
)
def test_a_page_is_restored_only_in_the_state_that_the_server_computes(
    driver: str, holds: str | None, outcome: str
) -> None:
    """The quiz's own page records its state, which the server's log contradicts; else its word counts."""
    assert outcomes(returned(driver, holds)) == {"alpha": "restored", "beta": outcome}


def test_only_clients_without_records_count_by_their_word() -> None:
    claim = "a client of beta counts as restored when its driver says so: "
    warnings = [judged(returned(driver, None)).laboratory.warnings for driver in ("own", "chromium")]
    assert [any(claim in words for words in found) for found in warnings] == [True, False]


def test_checks_of_records_apply_where_all_clients_record() -> None:
    found = [
        {item.name: item.verdict for item in judged(returned(driver, None)).invariants}
        for driver in ("chromium", "own")
    ]
    assert [verdicts["restored_state_true"] for verdicts in found] == [Verdict.PASS, Verdict.NOT_APPLICABLE]
    assert all(verdicts["losses_have_faults"] is Verdict.PASS for verdicts in found)
