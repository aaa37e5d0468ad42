"""One structured line per thing worth knowing: which, how many, and never in anybody's way."""

from __future__ import annotations

import io
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import structlog
from structlog.testing import capture_logs

from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.effects import Record
from resilience.server.log_writer import NonBlockingWriter
from resilience.server.logs import DROPPED, LINES, RecordLogger, configure
from tests.support.deadlines import HANG_S
from tests.support.virtual_server import VirtualServerHarness, play

from .scenario_all_events import SECRETS, FullScenario


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Leave no configuration behind."""
    handlers = logging.getLogger().handlers[:]
    yield
    structlog.reset_defaults()
    logging.getLogger().handlers = handlers


def lines_of(*records: Record) -> list[Any]:
    """The lines of these records, sums included."""
    with capture_logs() as lines:
        log = RecordLogger()
        for record in records:
            log(record)
        log.flush()
    return lines


def is_drained(writer: NonBlockingWriter) -> bool:
    """Whether all lines were tried; ends the writer's thread."""
    drained = writer.drain()
    writer.close()
    return drained


def drops(count: int) -> list[Record]:
    """So many participants lose their connections at once."""
    return [Record(LogEventKind.SESSION_DETACHED, 1.0, f"p{i}", 1, cause="closed") for i in range(count)]


@pytest.mark.parametrize(
    "record, words, level",
    [
        (Record(LogEventKind.SESSION_CREATED, 1.0, "p1", 1, outcome="created"), "heartbeat started", "info"),
        (Record(LogEventKind.SESSION_RESUMED, 1.0, "p1", 2, outcome="rejoined"), "reconnected", "info"),
        (Record(LogEventKind.SESSION_DETACHED, 1.0, "p1", 2, cause="grace"), "stale connection detected", "info"),
        (Record(LogEventKind.SESSION_DETACHED, 1.0, "p1", 2, cause="slow"), "connection lost", "info"),
        (Record(LogEventKind.SERVER_STARTED, 1.0, ref="quiz", outcome="fresh", value=0.0), "event opened", "info"),
        (
            Record(LogEventKind.SERVER_STARTED, 1.0, ref="quiz", outcome="recovered", value=9.0),
            "event recovered",
            "info",
        ),
        (Record(LogEventKind.SERVER_DRAINING, 1.0, value=2.0), "draining", "info"),
        (Record(LogEventKind.CONNECTION_REFUSED, 1.0, cause="origin"), "connections refused", "info"),
        (Record(LogEventKind.CONNECTION_REFUSED, 1.0, cause="key"), "host key refused", "warning"),
        (Record(LogEventKind.HOST_ORDERED, 1.0, ref="start", outcome="done"), "host ordered", "info"),
        (Record(LogEventKind.COMMIT_FAILED, 1.0, cause="disk full", value=3.0), "commit failed", "error"),
    ],
)
def test_a_record_worth_it_is_one_line_with_stable_words(record: Record, words: str, level: str) -> None:
    (line,) = lines_of(record)
    assert (line["event"], line["log_level"]) == (words, level)


def test_a_line_shows_the_fields_that_its_entry_names_and_no_other() -> None:
    hidden = {"detail": "hidden", "ref": "hidden"}
    (line,) = lines_of(
        Record(LogEventKind.SESSION_RESUMED, 1.0, "p1", 2, 9, 3, "resumed", None, 0.00399999999, **hidden)
    )
    shown = {"participant": "p1", "connection_no": 2, "outcome": "resumed", "attempt": 3, "seconds": 0.004}
    assert line == shown | {"event": "reconnected", "log_level": "info"}


def test_a_replayed_token_is_a_warning_that_names_the_participant() -> None:
    (line,) = lines_of(Record(LogEventKind.RESUME_REFUSED, 1.0, "p7", cause="retired"))
    assert line == {"event": "retired token replayed", "log_level": "warning", "participant": "p7"}


def test_what_has_no_entry_makes_no_line() -> None:
    silent = set(LogEventKind) - {kind for kind, _ in LINES}
    assert {LogEventKind.HEARTBEAT_SENT, LogEventKind.ANSWER_COMMITTED, LogEventKind.TRANSPORT_LOST} <= silent
    assert not lines_of(*(Record(kind, 1.0, "p1") for kind in silent))


def test_a_storm_of_refusals_is_one_line_a_second_with_its_count() -> None:
    shed = [Record(LogEventKind.JOIN_SHED, 5.0 + i / 1000, cause="overload", value=2.0) for i in range(2500)]
    lines = lines_of(*shed)
    assert [line["count"] for line in lines] == [1, 999, 1000, 500]
    assert all(line["event"] == "joins shed" and line["cause"] == "overload" for line in lines)


def test_causes_are_summed_apart_and_a_timer_tells_the_last_of_them() -> None:
    log = RecordLogger()
    with capture_logs() as lines:
        for cause in ("overload", "full", "overload"):
            log(Record(LogEventKind.JOIN_SHED, 1.0, cause=cause))
        assert [(line["cause"], line["count"]) for line in lines] == [("overload", 1), ("full", 1)]
        log.flush_due(1.9)
        assert len(lines) == 2
        log.flush_due(2.0)
        assert (lines[2]["cause"], lines[2]["count"]) == ("overload", 1)
        log(Record(LogEventKind.JOIN_SHED, 9.0, cause="full"))
    assert (lines[3]["cause"], lines[3]["count"]) == ("full", 1)


def test_causes_that_never_come_again_are_forgotten() -> None:
    log = RecordLogger()
    with capture_logs():
        for i in range(1000):
            log(Record(LogEventKind.COMMIT_FAILED, i * 2.0, cause=f"failure {i}"))
    assert len(log._reported_at) <= 2


def test_a_thousand_dropped_clients_are_a_thousand_lines_of_json_in_order() -> None:
    stream = io.StringIO()
    writer = configure(stream)
    log = RecordLogger()
    for record in drops(1000):
        log(record)
    assert is_drained(writer)
    lines = [msgspec.json.decode(line) for line in stream.getvalue().splitlines()]
    assert [line["participant"] for line in lines] == [f"p{i}" for i in range(1000)]
    assert list(lines[0])[:3] == ["timestamp", "level", "event"]


class Pipe:
    """A pipe whose reader reads nothing until it starts."""

    def __init__(self) -> None:
        self.reader, writer = os.pipe()
        self.stream = os.fdopen(writer, "w")

    def drain(self, enough: Callable[[list[Any]], bool]) -> list[Any]:
        """All lines, read until there are enough; fails when they do not come."""
        os.set_blocking(self.reader, False)
        seen, deadline = b"", time.monotonic() + HANG_S
        while True:
            with suppress(BlockingIOError):
                seen += os.read(self.reader, 1 << 20)
                lines = [msgspec.json.decode(line) for line in seen[: seen.rfind(b"\n") + 1].splitlines()]
                if enough(lines):
                    return lines
            assert time.monotonic() < deadline, f"only {seen.count(10)} lines came"

    def close(self) -> None:
        """Close the end that reads."""
        os.close(self.reader)
        with suppress(BrokenPipeError):
            self.stream.close()


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    made = Pipe()
    yield made
    made.close()


def test_a_pipe_without_a_reader_blocks_no_call_and_loses_no_line(pipe: Pipe) -> None:
    """3,000 lines are more than the pipe takes: a call that wrote them itself would never return."""
    writer = configure(pipe.stream)
    log = RecordLogger()
    for record in drops(3000):
        log(record)
    assert writer.dropped == 0
    lines = pipe.drain(lambda lines: len(lines) == 3000)
    assert [line["participant"] for line in lines] == [f"p{i}" for i in range(3000)]
    assert is_drained(writer)


def test_beyond_its_bound_lines_are_dropped_and_counted(pipe: Pipe) -> None:
    writer = configure(pipe.stream, capacity=500)
    log = RecordLogger()
    for record in drops(5000):
        log(record)
    assert writer.dropped > 3000

    def accounted(lines: list[Any]) -> int:
        return sum(line["count"] if line["event"] == DROPPED else 1 for line in lines)

    lines = pipe.drain(lambda lines: accounted(lines) == 5000)
    assert is_drained(writer)
    assert sum(line["count"] for line in lines if line["event"] == DROPPED) == writer.dropped
    assert {line["level"] for line in lines if line["event"] == DROPPED} == {"warning"}


def test_a_reader_that_is_gone_costs_lines_but_no_server() -> None:
    pipe = Pipe()
    writer = configure(pipe.stream)
    pipe.close()
    for record in drops(10):
        RecordLogger()(record)
    assert is_drained(writer)
    assert writer.dropped == 10


PROGRAM = """
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.effects import Record
from resilience.server.logs import RecordLogger, configure
configure()
log = RecordLogger()
for i in range(3000):
    log(Record(LogEventKind.SESSION_DETACHED, 1.0, f"p{i}", 1, cause="closed"))
"""


def test_a_blocked_reader_costs_the_close_its_timeout_and_memory_stays_bounded(pipe: Pipe) -> None:
    writer = configure(pipe.stream, capacity=2000)
    log = RecordLogger()
    for record in drops(20_000):
        log(record)
    assert not writer.drain(timeout=0)
    assert writer.waiting <= 2001, "the lines and the mark of the drain"
    assert writer.dropped > 20_000 - 2000 - 1000, "all but the waiting ones and what the pipe itself holds"


def test_a_full_queue_is_no_error_of_logging(pipe: Pipe, capsys: pytest.CaptureFixture[str]) -> None:
    """The standard handler would print a traceback for each line, to the standard error that is full."""
    writer = configure(pipe.stream, capacity=0)
    RecordLogger()(drops(1)[0])
    assert writer.dropped == 1
    assert not capsys.readouterr().err


def test_a_blocked_reader_is_waited_for_once_however_often_the_writer_is_closed(
    pipe: Pipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its owner closes it, and so does ``logging`` at the exit of the process."""
    writer, waits = configure(pipe.stream), list[str]()
    monkeypatch.setattr(writer, "drain", lambda: waits.append("waited"))
    writer.close()
    writer.close()
    assert waits == ["waited"]


def test_what_waits_is_written_when_the_process_ends() -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=HANG_S, check=True)
    assert len(run.stderr.splitlines()) == 3000
    assert "Traceback" not in run.stderr


def test_a_process_ends_even_if_its_pipe_is_never_read(pipe: Pipe) -> None:
    run = subprocess.run([sys.executable, "-c", PROGRAM], stderr=pipe.stream, timeout=HANG_S, check=False)
    assert run.returncode == 0


def test_a_whole_scenario_logs_everything_but_secrets_and_names() -> None:
    log = RecordLogger()

    async def script(harness: VirtualServerHarness) -> None:
        scenario = FullScenario(harness, log)
        await scenario.play()
        await scenario.end()
        log.flush()

    with capture_logs() as lines:
        play(script)
    said = {line["event"] for line in lines}
    assert said == {line.words for line in LINES.values()} - {"event recovered"}
    text = repr(lines)
    assert not [secret for secret in (*SECRETS, "'ada'", "'eve'") if secret in text]
    assert not re.search(r"[0-9a-f]{32}", text), "neither is a hash of one"


class Terminal(io.StringIO):
    """Says that it is one."""

    def isatty(self) -> bool:
        return True


def test_people_get_words_that_cannot_steer_their_terminal() -> None:
    stream = Terminal()
    writer = configure(stream)
    RecordLogger()(Record(LogEventKind.HOST_ATTACHED, 1.0, ref="\x1b]0;mine\x07"))
    assert is_drained(writer)
    assert "host attached" in stream.getvalue()
    assert "\x1b]0" not in stream.getvalue()
    assert "\\x1b]0;mine\\x07" in stream.getvalue()


def test_what_a_library_warns_of_is_a_line_too_but_not_its_chatter() -> None:
    stream = io.StringIO()
    writer = configure(stream)
    logging.getLogger("asyncio").warning("socket.send() raised exception.")
    try:
        raise RuntimeError("a defect")  # noqa: TRY301 - to have one
    except RuntimeError:
        logging.getLogger("asyncio").exception("Task exception was never retrieved")
    assert is_drained(writer)
    (line,) = [msgspec.json.decode(text) for text in stream.getvalue().splitlines()]
    assert (line["event"], line["level"], line["logger"]) == ("unexpected", "error", "asyncio")
    assert "RuntimeError: a defect" in line["exception"]
