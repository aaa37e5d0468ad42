"""``resilience host`` and ``play`` as processes: exit codes, one line per error, a restored terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import signal
import sys
import termios
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from chaos.ports import free_ports
from tests.support.deadlines import HANG_S

KEY = "a key that is long enough"
BY_HAND = '[[questions]]\ntext = "1 + 1?"\nchoices = ["1", "2"]\nanswer = "2"\ntime = 30\n'
AUTOMATIC = BY_HAND.replace("30", "1") + "[pace]\nlobby = 0.2\nreveal = 0.2\nleaderboard = 0.2\n"
ENVIRONMENT = os.environ | {"RESILIENCE_HOST_KEY": KEY, "PYTHONUNBUFFERED": "1", "TERM": "xterm", "COLUMNS": "100"}


async def start(folder: Path, *arguments: str, stdin: int = asyncio.subprocess.DEVNULL) -> asyncio.subprocess.Process:
    """Run the command."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "resilience", *arguments),
        cwd=folder,
        stdin=stdin,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=ENVIRONMENT,
    )


async def finish(process: asyncio.subprocess.Process, typed: str | None = None) -> tuple[int, str, str]:
    """Exit code, standard output, standard error."""
    out, err = await process.communicate(None if typed is None else typed.encode())
    assert process.returncode is not None
    assert b"Traceback" not in out + err
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[str]:
    """A real server that accepts hosts; yields its URL."""
    (port,) = free_ports(1)
    process = await start(folder, "serve", "--port", str(port), "--db", "sqlite://")
    try:
        async with asyncio.timeout(HANG_S):
            while True:
                with suppress(OSError):
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                await asyncio.sleep(0.02)
            yield f"ws://127.0.0.1:{port}/ws"
    finally:
        process.kill()
        await process.communicate()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a quiz in manual steps and an automatic one."""
    (tmp_path / "hand.toml").write_text(BY_HAND)
    (tmp_path / "auto.toml").write_text(AUTOMATIC)
    return tmp_path


async def test_an_automatic_quiz_needs_no_command_and_the_player_survives_a_kill(folder: Path) -> None:
    async with serving(folder) as url:
        host = await start(folder, "host", url, "--questions", "auto.toml")
        arguments = ("play", url, "--event", "auto", "--name", "Ada", "--resume", "me.json")
        await until_line(host, "lobby")
        first = await start(folder, *arguments, stdin=asyncio.subprocess.PIPE)
        await until_line(first, "you have joined")
        first.kill()
        await first.communicate()
        second = await start(folder, *arguments, stdin=asyncio.subprocess.PIPE)
        assert second.stdin is not None
        await until_line(second, "you are back, with your answers and score")
        code, out, _ = await finish(host)
        assert code == 0
        assert "question 1 of 1: 1 + 1?" in out
        assert "the quiz is over" in out
        assert "1. Ada  0" in out
        code, out, _ = await finish(second)
        assert code == 0
        assert "1. Ada  0  (you)" in out


async def until_line(process: asyncio.subprocess.Process, part: str) -> None:
    """Read up to a line that contains ``part``."""
    assert process.stdout is not None
    while part not in (line := (await process.stdout.readline()).decode()):
        assert line, "it ended"


async def test_a_quiz_is_hosted_through_a_pipe_detached_and_attached_again(folder: Path) -> None:
    """Each line acts after the result of the one before."""
    async with serving(folder) as url:
        command = ("host", url, "--questions", "hand.toml")
        code, out, _ = await finish(await start(folder, *command, stdin=asyncio.subprocess.PIPE), "n\nr\n")
        assert code == 0
        assert [line.split(";")[0] for line in out.splitlines()[1:]] == [
            "lobby, 1 questions ahead",
            "question 1 of 1: 1 + 1? (30 s)",
            "question 1 of 1 is closed: 1 + 1?",
            "detached",
        ]
        (folder / "typed").write_text("n\nn\n")
        with (folder / "typed").open() as typed:
            code, out, _ = await finish(await start(folder, *command, stdin=typed.fileno()))
        assert code == 0
        assert [line.split(";")[0] for line in out.splitlines()[1:]] == [
            "question 1 of 1 is closed: 1 + 1?",
            "leaderboard after question 1 of 1",
            "the quiz is over",
        ]
        code, out, _ = await finish(await start(folder, *command))
        assert code == 0
        assert "--again starts a new run" in out
        code, out, _ = await finish(await start(folder, *command, "--again", stdin=asyncio.subprocess.PIPE), "f\ny\n")
        assert code == 0
        assert "lobby, 1 questions ahead" in out


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("host", "ws://127.0.0.1:1/ws", "--questions", "nowhere.toml"), "nowhere.toml: no such file"),
        (("host", "ws://127.0.0.1:1/ws"), "--questions"),
        (("host", "http://127.0.0.1:1/", "--questions", "hand.toml"), "must be a WebSocket URL"),
        (("host", "ws://127.0.0.1:1/ws", "--questions", "hand.toml", "--event", ""), "event = ''"),
        (("host", "ws://127.0.0.1:1/ws", "--questions", "hand.toml", "--key-file", "no"), "no: cannot be read"),
        (("play", "ws://127.0.0.1:1/ws", "--name", ""), "name = ''"),
        (("play", "ws://127.0.0.1:1/ws", "--name", os.fsdecode(b"J\xf6rg")), "must be text that UTF-8 can express"),
        (("play", "ws://127.0.0.1:1/ws", "--name", "a\tb"), "none that breaks the line"),
        (("play", "ws://127.0.0.1:1/ws", "--event", "a\nb"), "none that breaks the line"),
        (("play", "ws://127.0.0.1:1/ws", "--resume", "hand.toml"), "hand.toml: holds no identity"),
        (("play", "ws://127.0.0.1:1/ws", "--resume", "no/me"), "no/me: cannot be written"),
    ],
)
async def test_bad_input_exits_2_with_one_line(arguments: tuple[str, ...], told: str, folder: Path) -> None:
    code, _, complaint = await finish(await start(folder, *arguments))
    assert code == 2
    assert told in complaint.splitlines()[-1]


async def test_hosting_without_a_key_fails_with_the_remedy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(ENVIRONMENT, "RESILIENCE_HOST_KEY")
    code, _, complaint = await finish(await start(folder, "host", "ws://127.0.0.1:1/ws", "--questions", "hand.toml"))
    assert (code, len(complaint.splitlines())) == (2, 1)
    assert "or name its file with --key-file" in complaint


async def test_a_wrong_key_exits_2_and_is_not_shown(folder: Path) -> None:
    (folder / "key").write_text("another key that is long enough\n")
    async with serving(folder) as url:
        command = ("host", url, "--questions", "hand.toml", "--key-file", "key")
        code, out, complaint = await finish(await start(folder, *command))
    assert code == 2
    assert complaint == "error: the server rejected the host key: the host key is wrong\n"
    assert "another key" not in out


async def test_an_unreachable_server_is_retried_until_ctrl_c(folder: Path) -> None:
    (port,) = free_ports(1)
    async with asyncio.timeout(HANG_S):
        host = await start(folder, "host", f"ws://127.0.0.1:{port}/ws", "--questions", "auto.toml")
        await until_line(
            host, "no connection to the server: the connection was refused: no server listens there; trying"
        )
        host.send_signal(signal.SIGINT)
        code, _, complaint = await finish(host)
    assert (code, complaint.strip()) == (4, "interrupted")


async def test_a_player_learns_why_there_is_no_connection(folder: Path) -> None:
    """In words and by the exit code, although standard input is closed from the start."""
    (port,) = free_ports(1)
    code, out, complaint = await finish(await start(folder, "play", f"ws://127.0.0.1:{port}/ws"))
    assert code == 4
    assert "OFFLINE  attempt 1 in" in out
    assert complaint == "error: no connection to the server: the connection was refused: no server listens there\n"
    async with serving(folder) as url:
        code, _, complaint = await finish(await start(folder, "play", url, "--event", "nope"))
        assert (code, complaint) == (2, "error: the server rejected the event id: there is no such event here\n")
        code, _, complaint = await finish(await start(folder, "play", url.removesuffix("ws") + "nothing"))
        assert code == 2
        assert complaint.startswith("error: the server answered with HTTP status 404 Not Found; check the path")
        code, out, complaint = await finish(await start(folder, "play", url))
        assert (code, complaint) == (0, "")
        assert "you have joined" in out


async def test_on_a_terminal_keys_act_at_once_and_its_mode_is_restored(folder: Path) -> None:
    """Single keys without Enter or echo; afterwards the terminal echoes again."""
    ours, theirs = pty.openpty()
    before = termios.tcgetattr(theirs)
    try:
        async with serving(folder) as url:
            host = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "resilience", "host", url, "--questions", "hand.toml"),
                cwd=folder,
                stdin=theirs,
                stdout=theirs,
                stderr=theirs,
                env=ENVIRONMENT,
            )
            shown = Screen(ours)
            await shown.until("waiting for you")
            os.write(ours, b"n")
            await shown.until("1 + 1?")
            os.write(ours, b"q")
            assert await host.wait() == 0
            await shown.until("detached")
            shown.close()
        assert termios.tcgetattr(theirs) == before
    finally:
        os.close(ours)
        os.close(theirs)


class Screen:
    """The output of a terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._seen, self._news = descriptor, "", asyncio.Event()
        asyncio.get_running_loop().add_reader(descriptor, self._read)

    def _read(self) -> None:
        self._seen += os.read(self._descriptor, 65_536).decode(errors="replace")
        self._news.set()

    async def until(self, part: str) -> None:
        """Wait for ``part``."""
        while part not in self._seen:
            self._news.clear()
            await self._news.wait()

    def close(self) -> None:
        """Stop reading."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
