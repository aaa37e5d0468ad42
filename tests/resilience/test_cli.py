"""The command line as a user meets it: real processes, exit codes, one line of complaint and no traceback."""

from __future__ import annotations

import asyncio
import os
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from chaos.ports import free_ports
from resilience.client.client import ReconnectingClient
from resilience.config import ClientConfig
from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.client.participant import Identity, ParticipantClient
from resilience.protocol.messages import Message, QuestionOpened
from resilience.random_streams import random_for
from tests.support.deadlines import HANG_S
from tests.support.stored_lines import read_events

QUIZ = "[quiz]\nquestions = 2\nlobby = 0.2\nquestion_time = 2.0\nreveal_time = 0.2\nleaderboard_time = 0.2\n"


def resilience(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    command = [sys.executable, "-m", "resilience", *arguments]
    return subprocess.run(command, cwd=cwd, text=True, capture_output=True, timeout=HANG_S, check=False)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (("sim", "run", "nowhere.toml"), "nowhere.toml: no such file"),
        (("sim", "run", "dem"), "did you mean demo?"),
        (("sim", "run", "demo", "--set", "server.grace_period=1"), "server.grace_period: 1.0: must exceed"),
        (("sim", "run", "demo", "--set", "expectations.0.threshold=1.2"), "a rate must be between 0 and 1"),
        (("sim", "run", "demo", "--set", "faults.0.cohorts=['delta']"), "faults[0].cohorts: 'delta': unknown cohort"),
        (("sim", "run", "demo", "--set", "colour=red"), "colour: object contains unknown field"),
        (("sim", "run", "demo", "--scale", "-1"), "must be a positive number"),
        (("sim", "run", "demo", "--lane", "astral"), "astral"),
        (("report", "build", "nowhere"), "nowhere"),
        (("serve", "--config", "nowhere.toml"), "nowhere.toml: no such file"),
        (("serve", "--db", "bogus"), "must be a database URL"),
        (("serve", "--grace-period", "1"), "grace_period = 1.0: must exceed heartbeat_interval"),
        (("play", "http://127.0.0.1/"), "must be a WebSocket URL"),
        (("dance",), "dance"),
    ],
)
def test_bad_input_exits_2_with_one_line(arguments: tuple[str, ...], message: str, tmp_path: Path) -> None:
    """Whatever is typed, the complaint names it and nothing ends in a traceback."""
    done = resilience(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert [path for path in tmp_path.iterdir() if path.name != "quiz.db"] == []


def test_a_port_in_use_is_named_and_exits_4(tmp_path: Path) -> None:
    """The user learns which port, and what to do."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", free_ports(1)[0]))
        taken.listen()
        port = taken.getsockname()[1]
        done = resilience("serve", "--port", str(port), "--db", "sqlite://", cwd=tmp_path)
    assert done.returncode == 4
    assert f"port {port} on 127.0.0.1 is already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_names_every_command_without_loading_the_laboratory(tmp_path: Path) -> None:
    """The first page is quick and complete."""
    code = "import sys; sys.argv = ['resilience', '--help']\ntry:\n    from resilience.cli import main; main()\n"
    code += "finally:\n    assert not {'pandas', 'simpy', 'matplotlib', 'sqlalchemy'} & set(sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, text=True, capture_output=True, timeout=HANG_S, check=False
    )
    assert done.returncode == 0, done.stderr
    for command in ("serve", "play", "chaos", "sim", "report"):
        assert f"\n  {command} " in done.stdout


@asynccontextmanager
async def serving(
    folder: Path, *more: str, port: int | None = None, quiz: str = QUIZ
) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    """A real server process, healthy; ended when the test is over."""
    (folder / "quiz.toml").write_text(quiz)
    port = port or free_ports(1)[0]
    command = ["-m", "resilience", "serve", "--port", str(port), "--config", "quiz.toml", *more]
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        async with asyncio.timeout(HANG_S):
            while not await _healthy(port):
                assert process.returncode is None, await process.communicate()
                await asyncio.sleep(0.02)
        yield process, port
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def _healthy(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = await reader.read(-1)
    writer.close()
    await writer.wait_closed()
    return answer.startswith(b"HTTP/1.1 200")


async def test_a_served_quiz_keeps_an_answer_and_stops_in_order(tmp_path: Path) -> None:
    """Join over a real socket, answer, SIGTERM: the answer is in the log and the database, and the exit code is 0."""
    log, opened, acked = tmp_path / "events" / "server.jsonl", asyncio.Event(), asyncio.Event()

    def deliver(message: Message) -> None:
        if isinstance(message, QuestionOpened):
            opened.set()
        if getattr(message, "verdict", None) == "accepted":
            acked.set()

    async with serving(tmp_path, "--event-log", str(log)) as (process, port), asyncio.timeout(HANG_S):
        machine = ParticipantClient(Identity("quiz", "ada", "ada"), ClientConfig().rules, random_for(1, "ada"))
        client = ReconnectingClient(machine, f"ws://127.0.0.1:{port}/ws", deliver=deliver)
        client.start()
        await opened.wait()
        client.answer("q1", 1)
        await acked.wait()
        process.terminate()
        assert await process.wait() == 0
        await client.stop()
    kinds = [event.kind for event in read_events(tmp_path)]
    assert kinds.count(LogEventKind.ANSWER_COMMITTED) == 1
    assert kinds.count(LogEventKind.SCORE_FINAL) == 1
    assert (tmp_path / "quiz.db").exists()


async def test_play_joins_answers_and_finishes(tmp_path: Path) -> None:
    """A person at a terminal: the question is shown, a typed number is an answer, the end of the quiz ends it."""
    async with serving(tmp_path, "--db", "sqlite://") as (_, port), asyncio.timeout(HANG_S):
        player = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "resilience", "play", f"ws://127.0.0.1:{port}/ws", "--name", "Ada"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        assert player.stdin is not None
        assert player.stdout is not None
        shown = b""
        while b"4)" not in shown:
            shown += await player.stdout.read(1024)
        player.stdin.write(b"9\n2\n")
        shown += await player.stdout.read(-1)
        assert await player.wait() == 0
    text = shown.decode()
    assert "you have joined" in text
    assert "type a number from 1 to 4" in text
    assert "your answer: accepted" in text
    assert "the quiz is over" in text


@pytest.mark.parametrize("flags, runs", [(("--fresh",), 2), ((), 1)])
async def test_a_second_run_on_the_same_database(tmp_path: Path, flags: tuple[str, ...], runs: int) -> None:
    """A second start continues the run that is under way, or begins a new one and leaves the first one alone."""
    for _ in range(2):
        async with serving(tmp_path, *flags) as (process, port), asyncio.timeout(HANG_S):
            machine = ParticipantClient(Identity("quiz", "ada", "ada"), ClientConfig().rules, random_for(1, "ada"))
            joined: asyncio.Queue[Message] = asyncio.Queue()
            client = ReconnectingClient(machine, f"ws://127.0.0.1:{port}/ws", deliver=joined.put_nowait)
            client.start()
            await joined.get()
            process.terminate()
            assert await process.wait() == 0
            await client.stop()
    with closing(sqlite3.connect(tmp_path / "quiz.db")) as database:
        found = database.execute("select event, name from event_participants").fetchall()
    assert [name for _, name in found] == ["ada", "ada"]
    assert len({event for event, _ in found}) == runs
