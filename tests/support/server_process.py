"""``resilience serve`` as a process: started, asked over HTTP, measured through ``/proc``, killed, ended. Linux only.

Also the cheapest peers of such a process: a raw connection that has joined, and one that asks again and again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from resilience.protocol import codec
from resilience.protocol.messages import Join, Message, Probe
from resilience.units import Seconds

from .deadlines import HANG_S

ROOT = Path(__file__).resolve().parents[2]
ADDRESS = "127.0.0.1"
PORTS = (20_000, 32_000)
"""Below the ports that the system gives to clients."""

KEY = "the key of the hosts"
NOISE = ("Traceback", "was never retrieved", "was never awaited", "Exception in callback", "Unhandled exception")
"""Texts that no client may make a server write."""


class Answer(NamedTuple):
    """An HTTP answer."""

    status: int
    headers: Mapping[str, str]
    body: str


class ServerProcess:
    """One process of ``resilience serve`` on ``port``, with its files in ``folder``."""

    def __init__(self, folder: Path, port: int, process: asyncio.subprocess.Process) -> None:
        self.folder, self.port, self.process = folder, port, process

    @property
    def url(self) -> str:
        """Where its clients dial."""
        return f"ws://{ADDRESS}:{self.port}/ws"

    @property
    def log(self) -> Path:
        """What it writes to its terminal."""
        return self.folder / "server.log"

    def noise(self) -> list[str]:
        """Lines of its log that speak of a fault in itself."""
        return [line for line in self.log.read_text().splitlines() if any(word in line for word in NOISE)]

    # asked ------------------------------------------------------------------------------------------------------------

    async def get(self, path: str) -> Answer:
        """Ask for a page."""
        reader, writer = await asyncio.open_connection(ADDRESS, self.port)
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: {ADDRESS}\r\nConnection: close\r\n\r\n".encode())
            head, _, body = (await reader.read(-1)).decode().partition("\r\n\r\n")
        finally:
            writer.close()
        first, *lines = head.split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        return Answer(int(first.split()[1]), headers, body)

    async def metrics(self) -> dict[str, float]:
        """Every sample of ``/metrics``, by name and labels as they are written."""
        body = (await self.get("/metrics")).body
        lines = (line.rpartition(" ") for line in body.splitlines() if line and not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    # looked into ------------------------------------------------------------------------------------------------------

    def memory(self) -> int:
        """Resident bytes."""
        return int(self._proc("statm").split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """Open files and sockets."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def threads(self) -> int:
        """Threads."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def cpu(self) -> Seconds:
        """Processor time so far."""
        fields = self._proc("stat").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def _proc(self, name: str) -> str:
        return Path(f"/proc/{self.process.pid}/{name}").read_text()

    # ended ------------------------------------------------------------------------------------------------------------

    def terminate(self) -> None:
        """Ask it to stop."""
        self.process.send_signal(signal.SIGTERM)

    async def kill(self) -> None:
        """Kill it, as by SIGKILL."""
        self.process.kill()
        await self.wait()

    async def wait(self, within: Seconds = HANG_S) -> int:
        """Its exit code, once it has stopped."""
        async with asyncio.timeout(within):
            return await self.process.wait()


@asynccontextmanager
async def target(
    folder: Path, settings: str, *flags: str, files: int | None = None, port: int | None = None
) -> AsyncIterator[ServerProcess]:
    """A server with these settings; ``files`` limits its open files. Ended, if need be killed, with the block."""
    port = port or free_port()
    _write(folder, settings)
    command = [sys.executable, "-m", "resilience", "serve", "--host", ADDRESS, "--port", str(port)]
    command += ["--db", f"sqlite:///{folder / 'quiz.db'}", "--config", str(folder / "server.toml"), *flags]
    if files is not None:
        command = ["sh", "-c", f'ulimit -n {files} && exec "$0" "$@"', *command]
    environment = {**os.environ, "RESILIENCE_HOST_KEY": KEY, "PYTHONPATH": str(ROOT), "PYTHONASYNCIODEBUG": ""}
    with (folder / "server.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log, env=environment, cwd=folder)
    started = ServerProcess(folder, port, process)
    try:
        await _listening(started)
        yield started
    finally:
        await _end(process)


def free_port() -> int:
    """A port on which no process listens."""
    source = random.Random()
    while True:
        port = source.randrange(*PORTS)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((ADDRESS, port))
            return port


def _write(folder: Path, settings: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "server.toml").write_text(settings)


async def _listening(started: ServerProcess) -> None:
    async with asyncio.timeout(HANG_S):
        while started.process.returncode is None:
            with suppress(OSError):
                if (await started.get("/healthz")).status == 200:
                    return
            await asyncio.sleep(0.05)
    raise RuntimeError(f"the server did not start: {started.log.read_text()[-2000:]}")


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            async with asyncio.timeout(HANG_S):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


# raw peers ------------------------------------------------------------------------------------------------------------

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: quiz\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_SHORT, _TEXT, _MASKED = 126, 0x81, 0x80


async def raw_connection(port: int, name: str) -> asyncio.StreamWriter:
    """A participant as cheap as can be: a socket that has joined and says no more."""
    reader, writer = await asyncio.open_connection(ADDRESS, port)
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
    of the time until the reply, what its main thread really ran, where the system tells. ``times`` has that for every
    reply, ``waits`` the whole time until it. Figures for benchmarks.
    """

    def __init__(self, served: ServerProcess, name: str) -> None:
        self.worst_s, self.replies = 0.0, 0
        self.times: list[Seconds] = []
        self.waits: list[Seconds] = []
        self._ran = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/schedstat")
        self._socket = socket.create_connection((ADDRESS, served.port), HANG_S)
        self._over = threading.Event()
        self._socket.sendall(HANDSHAKE + _frame(Join(event="quiz", name=name, instance=name)))
        heard = b""
        while b'"joined"' not in heard:  # a probe before that is refused, and never answered
            heard += self._socket.recv(65536)

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
            asked_at, began = self._now(), time.monotonic()
            self._socket.sendall(_frame(Probe(number)))
            heard = b""
            while wanted not in heard:
                heard += self._socket.recv(65536)
            self.times.append(self._now() - asked_at)
            self.waits.append(time.monotonic() - began)
            self.worst_s = max(self.worst_s, self.times[-1])
            self.replies += 1
