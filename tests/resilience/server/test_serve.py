"""The process around a server: what is still written when its loop ends."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from resilience.cli import root
from resilience.config import QuizConfig, ServerConfig
from resilience.errors import UsageError
from resilience.eventlog.vocabulary import Lane, LogEventKind, Role
from resilience.eventlog.writer import EventWriter
from resilience.protocol.effects import Record
from resilience.runtime import log_to
from resilience.server import serve
from tests.support.stored_lines import read_events


def test_a_task_that_the_loop_cancels_at_its_end_still_writes_its_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The handler of a connection does: with the file closed before the loop, it failed with a traceback in the log."""
    left_behind = []

    async def serving(_: Mapping[str, Any], __: ServerConfig, ___: QuizConfig, writer: EventWriter | None) -> None:
        assert writer is not None
        log = log_to(writer, Lane.REAL, Role.SERVER, "server")

        async def handler() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                log(Record(LogEventKind.SESSION_DETACHED, 1.0, "p1", 1, cause="closed"))
                writer.flush()

        left_behind.append(asyncio.create_task(handler()))
        await asyncio.sleep(0)

    monkeypatch.setattr(serve, "_serve", serving)
    monkeypatch.setattr(serve, "configure", lambda: None)
    monkeypatch.setattr(serve, "raise_open_files", lambda: None)
    serve.serve_command(
        ServerConfig(), QuizConfig(), {"event_log": tmp_path / "events" / "server.jsonl", "unknown": ()}
    )
    assert left_behind[0].cancelled()
    assert [event.kind for event in read_events(tmp_path)] == [LogEventKind.SESSION_DETACHED]


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("--event", ""), "--event '': expected `str` of length >= 1"),
        (("--event", "e" * 100), "expected `str` of length <= 64"),
        (("--event", "a\nb"), "--event 'a\\nb': expected `str` with at least one visible character"),
        (("--event", "\u200b"), "expected `str` with at least one visible character"),
        (("--epoch", "nan"), "--epoch nan: expected a finite number of seconds"),
        (("--epoch", "inf"), "--epoch inf: expected a finite number of seconds"),
    ],
)
def test_an_event_id_that_no_client_may_send_and_a_time_that_is_no_number_are_refused_at_the_start(
    arguments: tuple[str, str], told: str
) -> None:
    """Before a database is opened; exit code 2."""
    with pytest.raises(UsageError) as refused:
        root.main(["serve", *arguments, "--db", "sqlite:////nowhere/quiz.db"], standalone_mode=False)
    assert told in str(refused.value)
