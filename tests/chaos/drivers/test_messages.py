"""The lines of a driver: unknown fields are ignored, everything else that is wrong is named in words."""

from __future__ import annotations

import typing

import pytest

from chaos.drivers import messages as m

RESTORED = m.Restored(1.0, "a", m.Restoration.RESUMED, 7)
UNKNOWN = "unknown message type 'fly'; there are: ready, attempt, failed, opened, restored, lost, gave_up, acknowledged"


@pytest.mark.parametrize(
    "line, report",
    [
        ('{"type":"opened","t":1.5,"client":"a","colour":"green"}', m.Opened(1.5, "a")),
        ('{"type":"restored","t":1,"client":"a","how":"resumed","position":7}', RESTORED),
        ('{"client":"a","cause":"gone","t":2.0,"type":"lost"}', m.Lost(2.0, "a", "gone")),
        ('{"type":"ready","t":0.5,"version":1,"n":3}\r\n', m.DriverReady(0.5, 1, 3)),
    ],
)
def test_a_line_is_read_whatever_else_it_holds(line: str, report: m.Report) -> None:
    assert m.decode(line.encode()) == report


@pytest.mark.parametrize(
    "line, complaint",
    [
        ('{"type":"fly","t":1}', UNKNOWN),
        ('{"t":1}', "unknown message type None"),
        ('{"type":["opened"]}', "unknown message type ['opened']"),
        ("client a is connected", "no JSON object; standard output is for messages only"),
        ("[1, 2]", "no JSON object"),
        ("\xff", "no JSON object"),
        ('{"type":"opened","client":"a"}', "opened: object missing required field `t`"),
        ('{"type":"opened","t":"now","client":"a"}', "opened.t: expected `float`, got `str`"),
        ('{"type":"restored","t":1,"client":"a","how":"well"}', "restored.how: invalid enum value 'well'"),
        ('{"type":"lost","t":1,"client":"a","cause":"' + "x" * 2000 + '"}', "lost.cause: expected `str` of length"),
        ('{"type":"opened","t":NaN,"client":"a"}', "no JSON object"),
    ],
)
def test_a_line_that_is_no_message_is_explained(line: str, complaint: str) -> None:
    with pytest.raises(m.BrokenLineError) as caught:
        m.decode(line.encode("latin-1"))
    assert str(caught.value).startswith(complaint)


def test_a_long_line_is_quoted_in_part_and_in_one_line() -> None:
    assert m.quoted(b"two\rparts\n") == "two\\rparts"
    assert m.quoted(b"x" * 1000) == "x" * m.MAX_QUOTED_CHARACTERS + "…"
    assert m.quoted(b"\xff\n") == "\ufffd"


def test_every_report_is_in_the_list_of_names() -> None:
    """The list is what complaints and the checker show."""
    tags = [kind.__struct_config__.tag for kind in typing.get_args(m.Report)]
    assert sorted(tags) == sorted(m.REPORT_NAMES)


def test_an_order_is_one_line() -> None:
    line = m.encode(m.Open("a", "ws://127.0.0.1:1/", 7, {"text": "two\nlines"}))
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
