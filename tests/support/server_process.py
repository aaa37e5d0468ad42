"""The server as people start it, in a process of its own with real sockets, for what only those can show."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from chaos.ports import free_ports
from resilience.protocol import codec
from resilience.protocol.messages import Join, Message, Probe

from .deadlines import HANG_S

HOST = "127.0.0.1"
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: quiz\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_SHORT, _TEXT, _MASKED = 126, 0x81, 0x80


class ServerProcess:
    """``resilience serve`` on a port of its own; its lines are in ``log``. As a context manager it ends with it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)[0]
        self.url = f"ws://{HOST}:{self.port}/ws"
        self.log = folder / "serve.log"
        self._database = f"sqlite:///{folder / 'quiz.db'}"
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start it, and return once it listens."""
        command = [sys.executable, "-m", "resilience", "serve", "--port", str(self.port), "--db", self._database]
        environment = {**os.environ, "RESILIENCE_JOIN_CAPACITY": "1000"}
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        deadline = time.monotonic() + HANG_S
        while not _listens(self.port):
            assert self._process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, "the server does not listen"
            time.sleep(0.01)

    @property
    def pid(self) -> int:
        """Of the process that runs."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill it, as by SIGKILL."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(HANG_S)
            self._process = None


def _listens(port: int) -> bool:
    with contextlib.closing(socket.socket()) as probe:
        return probe.connect_ex((HOST, port)) == 0


async def raw_connection(port: int, name: str) -> asyncio.StreamWriter:
    """A participant as cheap as can be: a socket that has joined and says no more."""
    reader, writer = await asyncio.open_connection(HOST, port)
    writer.write(HANDSHAKE)
    await reader.readuntil(b"\r\n\r\n")
    writer.write(_frame(Join(event="quiz", name=name, instance=name)))
    await reader.read(1)
    return writer


def _frame(message: Message) -> bytes:
    """A masked text frame; with a mask of zeros the text is as it was."""
    text = codec.encode(message)
    short = len(text) < _SHORT
    head = struct.pack("!BB", _TEXT, _MASKED | (len(text) if short else _SHORT))
    return head + (b"" if short else struct.pack("!H", len(text))) + bytes(4) + text


class Stopwatch:
    """Asks the server for a reply again and again, on a thread of its own.

    ``replies`` counts the answers. ``worst_s`` is how long the server's loop worked on other things before it replied:
    of the time until the reply, what its main thread really ran, where the system tells. A figure for benchmarks.
    """

    def __init__(self, served: ServerProcess, name: str) -> None:
        self.worst_s, self.replies = 0.0, 0
        self._ran = Path(f"/proc/{served.pid}/task/{served.pid}/schedstat")
        self._socket = socket.create_connection((HOST, served.port), HANG_S)
        self._over = threading.Event()
        self._socket.sendall(HANDSHAKE + _frame(Join(event="quiz", name=name, instance=name)))

    def _now(self) -> float:
        try:
            return int(self._ran.read_text().split()[0]) / 1e9
        except (OSError, IndexError):
            return time.monotonic()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Measure while this lasts."""
        thread = threading.Thread(target=self._measure)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join(HANG_S)
            self._socket.close()

    def _measure(self) -> None:
        number = 0
        while not self._over.wait(0.01):
            number += 1
            wanted = b'"id":%d}' % number
            asked_at = self._now()
            self._socket.sendall(_frame(Probe(number)))
            heard = b""
            while wanted not in heard:
                heard += self._socket.recv(65536)
            self.worst_s = max(self.worst_s, self._now() - asked_at)
            self.replies += 1
