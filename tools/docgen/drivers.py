"""The reference parts of ``docs/drivers.md``: the messages of client drivers, what may follow what, the examples."""

from __future__ import annotations

import typing

import msgspec

from chaos.drivers import clock, worker
from chaos.drivers import messages as m
from chaos.drivers.clients import TABLE
from chaos.drivers.process import EXAMPLES
from docgen import schema
from docgen.message_sections import message_section, tag_of, wire_text
from docgen.sources import meaning, table
from resilience.experiment.drivers import StdioDriver

ORDERS: tuple[type, ...] = typing.get_args(m.Order)
REPORTS: tuple[type, ...] = typing.get_args(m.Report)

LINKS = {kind.__name__: f"[{tag_of(kind)}](#{tag_of(kind)})" for kind in (*ORDERS, *REPORTS)} | {
    m.Restoration.__name__: "`fresh` or `resumed`"
}
"""By class name: the link to its description."""

_CLIENT, _T = "alpha-0001", 12.25
EXAMPLES_OF: dict[type, msgspec.Struct] = {
    m.Hello: m.Hello(m.VERSION, 9),
    m.Open: m.Open(_CLIENT, "ws://127.0.0.1:41003/ws", 6053718292403153, {"room": "lobby"}),
    m.Act: m.Act(_CLIENT, f"{_CLIENT}/3"),
    m.Close: m.Close(_CLIENT),
    m.StopDriver: m.StopDriver(),
    m.DriverReady: m.DriverReady(_T, m.VERSION, 9, "socket.io-client 4.8.1"),
    m.Attempt: m.Attempt(_T, _CLIENT),
    m.Failed: m.Failed(_T, _CLIENT, "ECONNREFUSED"),
    m.Opened: m.Opened(_T, _CLIENT),
    m.Restored: m.Restored(_T, _CLIENT, m.Restoration.RESUMED, 41),
    m.Lost: m.Lost(_T, _CLIENT, "close code 1006"),
    m.GaveUp: m.GaveUp(_T, _CLIENT, "ten attempts"),
    m.Acknowledged: m.Acknowledged(_T, _CLIENT, f"{_CLIENT}/3"),
    m.Observed: m.Observed(_T, _CLIENT, 42, "9f86d081"),
    m.Recorded: m.Recorded(_T, _CLIENT, "session.restored", "p-7f3a", 3, 42, 1, detail="phase=lobby"),
    m.Received: m.Received(_T, _CLIENT, '{"type":"ping","id":7,"spread_ms":1000,"step_ms":100,"cap_ms":30000}'),
    m.Sent: m.Sent(_T, _CLIENT, '{"type":"answer","question":"q1","choice":2,"key":"k1"}'),
    m.Problem: m.Problem("unknown message type 'somersault'"),
    m.DriverEnded: m.DriverEnded(_T),
}
"""One of each message."""


def messages(kinds: tuple[type, ...]) -> str:
    """A section for each message, then an example of each, one on a line."""
    sections = [message_section(kind, tag_of(kind), LINKS) for kind in kinds]
    lines = "\n".join(msgspec.json.encode(EXAMPLES_OF[kind]).decode() for kind in kinds)
    return "\n\n".join([*sections, f"One example of each:\n\n```json\n{lines}\n```"])


def states() -> str:
    """By report: the states in which it may come, and the state that follows."""
    rows = []
    for kind, nexts in TABLE.items():
        after = sorted({state.value for state in nexts.values()})
        rows.append([LINKS[kind.__name__], ", ".join(state.value for state in nexts), ", ".join(after)])
    return table(["report", "may come while the client is", "which then is"], rows)


def settings() -> str:
    """The keys of the table ``[driver]``."""
    rows = [
        [
            f"`{name}`",
            schema.type_name(field, {}) or "table",
            _default(name),
            wire_text(meaning(StdioDriver, name) or "", {}),
        ]
        for name, field in schema.properties(StdioDriver).items()
    ]
    return table(["key", "type", "default", "meaning"], rows)


def _default(name: str) -> str:
    if name in schema.required(StdioDriver):
        return "required"
    value = schema.properties(StdioDriver)[name]["default"]
    return f"`{msgspec.json.encode(value).decode()}`"


def limits() -> str:
    """The limits that a driver must keep in a run."""
    rows = [
        ["until it answers the first hello, and its clock is known", f"{worker.READY_TIMEOUT_S:g} s"],
        ["until it answers a later hello", f"{worker.SILENCE_TIMEOUT_S:g} s"],
        ["from stop to its end", f"{worker.STOP_TIMEOUT_S:g} s"],
        ["the offset of its clock is known to", f"{clock.MAX_UNCERTAINTY_S:g} s"],
        [
            "its clock may move against that of the laboratory by",
            f"{clock.TOLERANCE_S:g} s and {clock.MAX_DRIFT:g} s a second",
        ],
        ["time may run backwards between two lines of one client by", f"{clock.DISORDER_S:g} s"],
        ["a line may have", "4 MiB"],
    ]
    return table(["what", "at most"], rows)


def example(name: str, language: str) -> str:
    """A driver that ships, whole."""
    return f"```{language}\n{(EXAMPLES / name).read_text(encoding='utf-8').rstrip()}\n```"
