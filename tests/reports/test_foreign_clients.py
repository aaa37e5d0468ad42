"""Clients of another program: their episodes come from what their driver said, and no check asks them for more."""

from __future__ import annotations

import msgspec
import pandas as pd
import pytest

from chaos.drivers import messages as m
from chaos.drivers.clients import DriverClient
from reports.episodes import episodes_frame
from reports.frames import RunHistory
from reports.invariants import CHECKS, run_checks
from reports.metrics import summarise
from reports.summary import Summary
from resilience.eventlog.vocabulary import LogEventKind, Role, Verdict
from resilience.experiment.drivers import StdioDriver
from resilience.experiment.faults import BlackholeFault, CutFault
from resilience.experiment.targets import EvidenceSource
from resilience.protocol.effects import Record, event_of

from ..support.log_builder import LogBuilder, experiment
from ..support.planted.runs import virtual

CUT, HOLE = "0.0:cut@alpha", "0.0:blackhole@alpha"
WHO = "alpha-0001"
Said = tuple[float, m.ClientReport]


def say(kind: type, t: float, **fields: object) -> Said:
    return t, kind(t, WHO, **fields)


JOINED = [say(m.Attempt, 1.0), say(m.Opened, 1.1), say(m.Restored, 1.2, how=m.Restoration.FRESH)]


def back(how: m.Restoration) -> list[Said]:
    """Dial after the loss, in vain and then again, and have a session at 12.5 s."""
    tries = [say(m.Attempt, 10.5), say(m.Failed, 11.0, cause="refused"), say(m.Attempt, 12.0), say(m.Opened, 12.4)]
    return [say(m.Lost, 10.2, cause="closed"), *tries, say(m.Restored, 12.5, how=how)]


def history(
    *said: Said, must_resume: bool = False, hole: bool = False, uncertainty: float | None = None, fleet: bool = False
) -> RunHistory:
    """A run of the quiz server with a client of another program that said this; a cut, or a blackhole, at 10 s.

    ``uncertainty``: of the driver's clock, seconds, if the log has it; ``fleet``: that client is one of ours.
    """
    fault = BlackholeFault(at=10.0, cohorts=("alpha",), duration=3.0) if hole else CutFault(10.0, ("alpha",))
    driver = StdioDriver(("a-driver",), must_resume=must_resume)
    plan = experiment((fault,), clients=1, duration=60.0)
    chosen = plan if fleet else msgspec.structs.replace(plan, driver=driver)
    builder = LogBuilder(chosen).fault(HOLE if hole else CUT, 10.0, 13.0 if hole else 10.0)
    if uncertainty is not None:
        known = Record(LogEventKind.DRIVER_CLOCK, -0.5, value=uncertainty, detail="a driver")
        builder.events.append(event_of(known, builder.lane, Role.RUNNER, "clients-1"))
    client = DriverClient(WHO, must_resume=must_resume)
    for t, report in said:
        records = client.receive(report, t)
        builder.events += [event_of(record, builder.lane, Role.CLIENT, WHO, "alpha") for record in records]
    return builder.end().log()


def judged(run: RunHistory) -> Summary:
    return summarise(run, episodes_frame(run))


def only(run: RunHistory) -> pd.Series:
    (row,) = [row for _, row in episodes_frame(run).iterrows()]
    return row


@pytest.mark.parametrize("how", m.Restoration)
def test_a_return_is_what_the_driver_says(how: m.Restoration) -> None:
    """With all four clocks and its attempts, although the server has no record of such a session."""
    row = only(history(*JOINED, *back(how)))
    assert (row["outcome"], row["came_back_by"], row["attempts"]) == ("restored", how.value, 2)
    assert (row["detection_s"], row["reconnection_s"]) == pytest.approx((0.2, 2.3))
    assert (row["downtime_s"], row["excess_s"]) == pytest.approx((2.5, 2.5))


def test_a_fresh_session_is_a_lost_identity_where_sessions_must_resume() -> None:
    fresh, resumed = (history(*JOINED, *back(how), must_resume=True) for how in m.Restoration)
    assert (only(fresh)["outcome"], only(resumed)["outcome"]) == ("identity_lost", "restored")


def test_a_client_that_gave_up_has_given_up() -> None:
    row = only(history(*JOINED, *back(m.Restoration.FRESH)[:-2], say(m.GaveUp, 20.0)))
    assert (row["outcome"], row["returned"]) == ("gave_up", False)


@pytest.mark.parametrize("proof", [say(m.Observed, 15.0), None])
def test_a_connection_that_is_still_open_has_survived_only_with_a_sign_of_life(proof: Said | None) -> None:
    row = only(history(*JOINED, *([proof] if proof else []), hole=True))
    assert row["outcome"] == ("not_exposed" if proof else "censored")


def test_checks_that_rest_on_our_own_clients_do_not_apply() -> None:
    summary = judged(history(*JOINED, *back(m.Restoration.FRESH)))
    found = {item.name: item for item in summary.invariants}
    assert found["restored_state_true"].verdict is Verdict.NOT_APPLICABLE
    assert found["restored_state_true"].detail == "clients of another program leave no evidence of it"
    assert found["losses_have_faults"].verdict is Verdict.PASS
    assert not [item for item in summary.invariants if item.verdict is Verdict.FAIL]
    claim = "a client counts as restored when its driver says so: 0 resumed, 1 fresh"
    assert claim in summary.laboratory.warnings


def test_a_loss_without_a_fault_is_still_found() -> None:
    lost = [say(m.Lost, 5.0, cause="closed"), say(m.Attempt, 5.1), say(m.Opened, 5.2)]
    run = history(*JOINED, *lost, say(m.Restored, 5.3, how=m.Restoration.FRESH))
    found = {item.name: item.verdict for item in judged(run).invariants}
    assert found["losses_have_faults"] is Verdict.FAIL


@pytest.mark.parametrize(
    "t, uncertainty, verdict",
    [(9.9985, 0.002, Verdict.PASS), (9.9985, None, Verdict.FAIL), (9.9985, 0.001, Verdict.FAIL)],
)
def test_a_loss_may_be_as_early_as_the_drivers_clock_is_uncertain(
    t: float, uncertainty: float | None, verdict: Verdict
) -> None:
    """A page lost its session 15 microseconds before the fault began, by a clock that was known to 1.5 ms."""
    rest = back(m.Restoration.FRESH)[1:]
    run = history(*JOINED, say(m.Lost, t, cause="closed"), *rest, uncertainty=uncertainty)
    found = {item.name: item.verdict for item in run_checks(run)}
    assert found["losses_have_faults"] is verdict


def test_a_drivers_clock_excuses_no_client_of_the_fleet() -> None:
    """In a run of browsers and programs only the browsers have a clock of their own."""
    rest = back(m.Restoration.FRESH)[1:]
    run = history(*JOINED, say(m.Lost, 9.9985, cause="closed"), *rest, uncertainty=0.002, fleet=True)
    found = {item.name: item.verdict for item in run_checks(run)}
    assert found["losses_have_faults"] is Verdict.FAIL


def test_the_kinds_that_only_drivers_write_are_signs_of_life() -> None:
    acknowledged = DriverClient(WHO)
    for _, report in JOINED:
        acknowledged.receive(report, 1.0)
    (record,) = acknowledged.receive(m.Acknowledged(2.0, WHO, acknowledged.next_key()), 2.0)
    assert record.kind is LogEventKind.CLIENT_ACKNOWLEDGED


def test_a_sound_run_whose_clients_record_is_judged_without_what_they_were_shown() -> None:
    """A driver with ``quiz_records`` promises its clients' records; what they were shown it may report or not."""
    run = virtual(1)
    recording = msgspec.structs.replace(run.experiment, driver=StdioDriver(("a-driver",), quiz_records=True))
    found = run_checks(RunHistory(run.info, recording, run.events, (), run.stored))
    assert [item.name for item in found if item.verdict in {Verdict.FAIL, Verdict.INCONCLUSIVE}] == []
    unseen = {name for name, rule in CHECKS.items() if EvidenceSource.OBSERVATIONS in rule.needs}
    assert {item.verdict for item in found if item.name in unseen} == {Verdict.NOT_APPLICABLE}
    assert {item.name for item in found if "of which nothing is kept of what they were shown" in item.detail} == unseen
