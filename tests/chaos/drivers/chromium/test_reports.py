"""Documents of one tab, one after another: their clocks, what is held, what a lost document leaves."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.drivers import messages as m
from chaos.drivers.chromium.reports import LEFT, PageMessage, TabReports, read_message
from chaos.drivers.clients import DriverClient
from chaos.drivers.clock import DriverClock, Greeting


def clock(offset: float) -> DriverClock:
    """The clock of a document that began at ``offset`` of the driver's."""
    made = DriverClock()
    made.measure(Greeting(offset + 1.0, 1.0, offset + 1.0))
    return made


def said(document: float, name: str, t: float, **fields: object) -> PageMessage:
    return PageMessage(document, name, t, fields)


def connected(document: float = 7.0, offset: float = 100.0) -> TabReports:
    """A client in session since 2 s of its first document's clock."""
    tab = TabReports("a")
    tab.begin(document)
    tab.measured(clock(offset))
    for name, fields in (("attempt", {}), ("opened", {}), ("restored", {"how": "fresh"})):
        tab.receive(PageMessage(document, name, 2.0, fields), offset + 2.5)
    return tab


def test_reports_wait_for_the_clock_of_their_document_and_keep_their_order() -> None:
    tab = TabReports("a")
    tab.begin(7.0)
    assert tab.receive(said(7.0, "attempt", 0.5), 100.6) == []
    assert tab.receive(said(7.0, "failed", 0.75, cause="refused"), 100.8) == []
    assert tab.measured(clock(100.0)) == [m.Attempt(100.5, "a"), m.Failed(100.75, "a", "refused")]
    assert tab.receive(said(7.0, "attempt", 1.0), 101.2) == [m.Attempt(101.0, "a")]


def test_a_document_that_replaces_a_connected_one_has_lost_its_connection() -> None:
    """At the moment when the new document began, for no document reports its own end."""
    tab = connected()
    tab.begin(8.0)
    tab.receive(said(8.0, "attempt", 0.1), 105.2)
    assert tab.measured(clock(105.0)) == [m.Lost(105.0, "a", LEFT), m.Attempt(105.1, "a")]


def test_a_loss_is_reported_once() -> None:
    """Not again by the next document, when the page reported it and then reloaded."""
    tab = connected()
    tab.receive(said(7.0, "lost", 3.0, cause="close code 1006"), 103.1)
    tab.begin(8.0)
    assert tab.measured(clock(105.0)) == []


def test_what_a_document_that_is_gone_still_says_is_ignored() -> None:
    tab = connected()
    tab.begin(8.0)
    tab.measured(clock(105.0))
    assert tab.receive(said(7.0, "acknowledged", 6.0, key="a/1"), 106.1) == []


@pytest.mark.parametrize(
    "name, fields, words",
    [
        ("ready", {"version": 1, "n": 1}, "unknown report 'ready'; a page may report: attempt, failed"),
        ("returned", {}, "unknown report 'returned'"),
        ("restored", {}, "restored: object missing required field `how`"),
        ("lost", {"cause": 3}, "lost.cause"),
        ("error", {"message": "no room"}, "no room"),
    ],
)
def test_what_is_no_report_is_rejected_in_words(name: str, fields: dict[str, Any], words: str) -> None:
    tab = connected()
    with pytest.raises(m.BrokenLineError) as caught:
        tab.receive(PageMessage(7.0, name, 3.0, fields), 103.1)
    assert words in str(caught.value)


def test_a_page_cannot_speak_for_another_client_nor_in_another_time() -> None:
    tab = connected()
    (report,) = tab.receive(PageMessage(7.0, "lost", 3.0, {"cause": "x", "client": "b", "t": 99.0}), 103.1)
    assert report == m.Lost(103.0, "a", "x")


def test_what_cannot_be_read_is_rejected_with_an_example() -> None:
    with pytest.raises(m.BrokenLineError, match=r'write resilience\.report\("attempt"\)'):
        read_message('{"document":1.0,"type":"lost","t":2.0,"fields":"gone"}')


@given(
    st.lists(
        st.one_of(
            st.floats(0.01, 5.0).map(lambda pause: ("reload", pause)),
            st.tuples(st.sampled_from(["attempt", "opened", "restored", "lost"]), st.floats(0.0, 1.0)),
        ),
        max_size=30,
    )
)
def test_reloads_at_any_moment_leave_an_order_that_the_laboratory_accepts(steps: list[tuple[str, float]]) -> None:
    """A page that reports in order stays in order over all its documents, and its time never runs backwards."""
    tab, client, now, began = TabReports("a"), DriverClient("a"), 100.0, 100.0
    follows = {"attempt": {"", "attempt", "lost"}, "opened": {"attempt"}, "restored": {"opened"}}
    follows["lost"] = {"opened", "restored"}
    state, times = "", []
    tab.begin(began)
    reports = tab.measured(clock(began))
    for name, pause in steps:
        now += pause
        if name == "reload":
            began, state = now, ""
            tab.begin(began)
            reports = tab.measured(clock(began))
        elif state in follows[name]:
            state = name
            fields = {"restored": {"how": "fresh"}, "lost": {"cause": "x"}}.get(name, {})
            reports = tab.receive(PageMessage(began, name, now - began, fields), now)
        else:
            reports = []
        for report in reports:
            client.receive(report, report.t)
            times.append(report.t)
    assert times == sorted(times)


def test_a_report_is_encoded_as_a_line_of_the_protocol() -> None:
    (report,) = connected().receive(said(7.0, "observed", 3.0, position=4), 103.1)
    assert m.decode(msgspec.json.encode(report)) == m.Observed(103.0, "a", 4)


@pytest.mark.parametrize(
    "kind, lost", [("session.restored", True), ("stream.delivered", True), ("transport.lost", False)]
)
def test_a_document_that_reports_records_loses_its_connection_with_its_page(kind: str, lost: bool) -> None:
    tab = TabReports("a")
    tab.begin(7.0)
    tab.measured(clock(100.0))
    for t, each in ((1.0, "transport.opening"), (2.0, "transport.opened"), (3.0, kind)):
        tab.receive(said(7.0, "recorded", t, kind=each), 100.1 + t)
    tab.begin(8.0)
    assert tab.measured(clock(105.0)) == ([m.Lost(105.0, "a", LEFT)] if lost else [])
