"""Processes under measurement: started, asked, looked into through ``/proc``, ended. Judges nothing.

Linux only. CPU is seconds on a processor, of all threads, to the nanosecond (``schedstat``); memory is resident bytes.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple, Self

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[2]
HOST = "127.0.0.1"
EVENT = "quiz"
LIMITS = "[server]\naddress_rate = 0\n"
"""All load comes from one address, which no real crowd does."""

LOBBY = f"{LIMITS}[quiz]\nlobby = 86400.0\n"
"""Settings of a server whose quiz never begins."""

STARTUP_S = 120.0
PORTS = range(20_000, 32_000)
"""Below the ports that the system gives to clients."""


def quiz(*, questions: int, lobby: float, question_time: float) -> str:
    """Settings of a server that asks one question after the other, seconds."""
    times = f"lobby = {lobby}\nquestion_time = {question_time}\nreveal_time = 0.3\nleaderboard_time = 0.3\n"
    return f"{LIMITS}[quiz]\nquestions = {questions}\n{times}"


class Held(NamedTuple):
    """What a process holds: resident bytes, open files and sockets, asyncio tasks that have not ended."""

    memory: int
    files: int
    tasks: int


class Server(NamedTuple):
    """A server process that listens on ``port``."""

    process: subprocess.Popen[bytes]
    port: int
    path: str

    @property
    def cpu(self) -> float:
        """Seconds on a processor so far, of all threads."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def memory(self) -> int:
        """Resident bytes once garbage is collected and free memory handed back."""
        return self.held().memory

    def held(self) -> Held:
        """What the process holds once garbage is collected and free memory handed back."""
        self.process.send_signal(signal.SIGUSR1)
        line = _line(self.process.stdout, b"collected") if self.process.stdout else b""
        if not line:
            raise RuntimeError("the server did not collect its garbage")
        folder = Path(f"/proc/{self.process.pid}")
        pages = int((folder / "statm").read_text().split()[1])
        files = len(list((folder / "fd").iterdir()))
        return Held(pages * os.sysconf("SC_PAGE_SIZE"), files, int(line.split()[-1]))


@contextmanager
def bare() -> Iterator[Server]:
    """The reference server."""
    with _listening(lambda port: [str(HERE / "reference_server.py"), str(port)], "/", {}, None) as server:
        yield server


@contextmanager
def product(folder: Path, settings: str, *flags: str) -> Iterator[Server]:
    """``resilience serve`` on a database file in ``folder``; ``settings`` is a settings file's text."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "server.toml"
    config.write_text(settings)

    def words(port: int) -> list[str]:
        listen = ["--host", HOST, "--port", str(port), "--event", EVENT]
        return [
            "resilience",
            "serve",
            *listen,
            "--db",
            f"sqlite:///{folder / 'quiz.db'}",
            "--config",
            str(config),
            *flags,
        ]

    with _listening(words, "/ws", {"PYTHONPATH": str(ROOT)}, folder / "server.log") as server:
        yield server


class LoadProcess:
    """A process of ``count`` clients, numbered from ``start``; ``ask`` gives an order and waits for what came of it.

    ``proxied``: the heads of their handshakes are all different.
    """

    def __init__(self, server: Server, count: int, *, start: int = 0, proxied: bool = False) -> None:
        command = [sys.executable, "-m", "tests.benchmarks.lab.load_generator"]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        address = {"host": HOST, "port": server.port, "path": server.path}
        self._send(address | {"event": EVENT, "start": start, "proxied": proxied})
        self.ask("clients", count=count)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._process)

    def order(self, do: str, **fields: object) -> None:
        """Give an order; :meth:`answer` must follow."""
        self._send({"do": do, **fields})

    def answer(self) -> dict[str, Any]:
        """What came of the last order."""
        line = self._process.stdout.readline() if self._process.stdout else b""
        if not line:
            raise RuntimeError(f"the crowd ended with exit code {self._process.wait()}")
        return dict(json.loads(line))

    def ask(self, do: str, **fields: object) -> dict[str, Any]:
        """Give an order and wait."""
        self.order(do, **fields)
        return self.answer()

    def _send(self, fields: Mapping[str, object]) -> None:
        if self._process.stdin is not None:
            self._process.stdin.write(json.dumps(fields).encode() + b"\n")
            self._process.stdin.flush()


@contextmanager
def _listening(words: Any, path: str, env: dict[str, str], log: Path | None) -> Iterator[Server]:  # noqa: ANN401
    port = _free_port()
    command = [sys.executable, "-P", str(HERE / "instrumented_server.py"), *words(port)]
    sink: IO[bytes] | int = log.open("ab") if log else subprocess.DEVNULL
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=sink, env={**os.environ, **env})
    try:
        _await_port(process, port, log)
        yield Server(process, port, path)
    finally:
        _end(process)
        if not isinstance(sink, int):
            sink.close()


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ended for good when this returns; our crowds leave no server anything to wait for."""
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with suppress(BrokenPipeError):
                stream.close()
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _free_port() -> int:
    begin = os.getpid() % len(PORTS)  # two runs at once do not race for the same ones
    for port in itertools.chain(PORTS[begin:], PORTS[:begin]):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((HOST, port))
                return port
    raise RuntimeError("no free port")


def _await_port(process: subprocess.Popen[bytes], port: int, log: Path | None) -> None:
    deadline = time.monotonic() + STARTUP_S
    while time.monotonic() < deadline and process.poll() is None:
        with suppress(OSError), socket.create_connection((HOST, port), 1):
            return
        time.sleep(0.05)
    words = log.read_text()[-2000:] if log and log.exists() else ""
    raise RuntimeError(f"a server did not listen on port {port}; {words}")


def _line(stream: IO[bytes], wanted: bytes) -> bytes:
    while line := stream.readline():
        if wanted in line:
            return line
    return b""
