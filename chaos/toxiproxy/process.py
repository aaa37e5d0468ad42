"""One Toxiproxy server as a supervised child: started, verified as ours, frozen, killed, replaced, never left running.

One process serves one cohort, because freezing it (the only complete silence there is) and replacing a hung one affect
all its proxies. Nothing here knows of cohorts, proxies or toxics: a respawned server is empty.

No child outlives the run: it has a session of its own (a terminal's Ctrl-C reaches only the parent, which then cleans
up in order), an exit handler kills it, and on Linux the kernel kills it when the thread that started it ends for any
reason. That thread is the event loop's, because a child is only ever started inside a coroutine.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import json
import os
import secrets
import signal
import subprocess
import time
from enum import Enum, auto
from pathlib import Path
from typing import IO, TYPE_CHECKING

from resilience.errors import PortInUseError, ToxiproxyError
from resilience.lab.system import CallTimes
from resilience.network_addresses import with_port

from ..parent_death import die_with_parent
from ..ports import free_ports, require_free
from ..run_children import add_to_run
from ..supervised import describe_exit
from .client import NotToxiproxyError, ToxiproxyApi, ToxiproxyHungError, ToxiproxyRefusedError

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from resilience.units import Instant, Seconds

    from .provision import Binary

START_S: Seconds = 15.0
"""Time allowed for one start until the control API answers."""

DEATH_S: Seconds = 2.0
"""Time allowed for the kernel to stop or reap a process after SIGSTOP or SIGKILL."""

ASK_S: Seconds = 3.0
"""Time allowed for the owner of the control port to answer before another port is tried."""

POLL_S: Seconds = 0.005
"""Pause between two checks of a condition."""

_TRIES = 5
_LOG_TAIL = 400


class _Start(Enum):
    """The result of one attempt to start."""

    READY = auto()
    PORT_TAKEN = auto()
    DIED = auto()
    LATE = auto()


class ToxiproxyProcess:
    """A running server; create one with :meth:`start`, from the event loop's thread.

    ``host`` and ``api_port`` are the address of its control API, ``starts`` counts the starts, ``suspended`` tells
    whether it is frozen.
    """

    is_shared = False
    listen_host = "127.0.0.1"

    def __init__(self, binary: Binary, host: str, log_path: Path | None, clock: Callable[[], Instant]) -> None:
        self.host, self.api_port, self.starts, self.suspended = host, 0, 0, False
        self._binary, self._log_path, self._clock = binary, log_path, clock
        self._child: subprocess.Popen[bytes] | None = None

    @classmethod
    async def start(
        cls,
        binary: Binary,
        host: str = "127.0.0.1",
        api_port: int | None = None,
        log_path: Path | None = None,
        *,
        clock: Callable[[], Instant] = time.monotonic,
    ) -> Self:
        """Start a server and return it when its own control API answers.

        Without ``api_port`` a free port below the ephemeral range is used, and another if that one is lost meanwhile.
        The log is appended to ``log_path``, else discarded. Raises PortInUseError if a given port is taken and
        ToxiproxyError if the server dies or does not answer within ``START_S`` seconds.
        """
        process = cls(binary, host, log_path, clock)
        await process._launch(api_port)
        return process

    @property
    def pid(self) -> int:
        """The process id; that of the last child once it is dead."""
        return self._running().pid

    @property
    def alive(self) -> bool:
        """False after the process has ended for any reason. A suspended or hung one is alive."""
        return self._child is not None and self._child.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs; minus the signal's number if a signal ended it; 2 if it crashed by itself."""
        return None if self._child is None else self._child.poll()

    def api(self, timeout_s: Seconds = 5.0) -> ToxiproxyApi:
        """Return a new client of this server's control API; the caller closes it."""
        return ToxiproxyApi(self.host, self.api_port, timeout_s, clock=self._clock)

    def suspend(self) -> CallTimes:
        """Freeze the process: all its links fall silent, closes and new connections included, and nothing is lost.

        Returns times around the stop, the second after the kernel confirms that every thread is stopped. Its control
        API hangs until :meth:`resume`. Raises ToxiproxyError if it is dead.
        """
        before = self._clock()
        self._signal(signal.SIGSTOP, "suspend")
        self._await_standstill()
        self.suspended = True
        return CallTimes(before, self._clock())

    def resume(self) -> CallTimes:
        """Continue a suspended process; held bytes, closes and connections go through in order."""
        before = self._clock()
        self._signal(signal.SIGCONT, "resume")
        self.suspended = False
        return CallTimes(before, self._clock())

    def kill(self) -> CallTimes:
        """SIGKILL, suspended or not; on return the process has ended. No effect on a dead one."""
        before = self._clock()
        self.kill_now()
        if self.alive:
            raise ToxiproxyError(f"toxiproxy (pid {self.pid}) outlived SIGKILL for {DEATH_S} s; reboot the machine")
        return CallTimes(before, self._clock())

    def kill_now(self) -> None:
        """SIGKILL for exit handlers and signal handlers: never raises, waits at most ``DEATH_S`` seconds."""
        child = self._child
        if child is None or child.poll() is not None:
            return
        with contextlib.suppress(ProcessLookupError):  # it ended between the check and the signal
            child.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):  # a caller that needs the result reads `alive`
            child.wait(DEATH_S)
        self.suspended = False

    async def stop(self, grace_s: Seconds = DEATH_S) -> None:
        """End the process: SIGTERM, and SIGKILL if it runs after ``grace_s`` seconds or is suspended."""
        if self.alive and not self.suspended:
            self._signal(signal.SIGTERM, "stop")
            await self._gone(grace_s)
        self.kill()
        atexit.unregister(self.kill_now)

    async def respawn(self) -> None:
        """Kill the process and start an empty one, on the same control port unless another process has taken it."""
        self.kill()
        try:
            await self._launch(self.api_port)
        except PortInUseError:
            await self._launch(None)

    async def _launch(self, wanted: int | None) -> None:
        """Start a ready child on the ``wanted`` port, or on one of several free ones."""
        if wanted is not None:
            require_free(wanted, self.host)
        for _ in range(_TRIES if wanted is None else 1):
            outcome = await self._attempt(free_ports(1, self.host)[0] if wanted is None else wanted)
            if outcome in {_Start.READY, _Start.DIED}:
                break
        if outcome is _Start.PORT_TAKEN:
            raise PortInUseError(self.host, self.api_port)
        if outcome is not _Start.READY:
            raise ToxiproxyError(self._failure(outcome))

    async def _attempt(self, port: int) -> _Start:
        """Start one child on ``port``; leave it running only if it is ready."""
        marker = f"owner-{secrets.token_hex(8)}"
        self.api_port, self.suspended = port, False
        outcome = _Start.LATE
        self._child = self._spawn(port, marker)
        self._watch_exit()
        try:
            outcome = await self._readiness(self._child, marker)
        finally:
            if outcome is not _Start.READY:
                self.kill_now()
        return outcome

    def _spawn(self, port: int, marker: str) -> subprocess.Popen[bytes]:
        """Start the server with one disabled proxy called ``marker``, which identifies its control API as ours.

        (A server that cannot open its control port keeps running without one, and another server may answer there.)
        """
        config = [{"name": marker, "listen": "127.0.0.1:0", "upstream": "127.0.0.1:1", "enabled": False}]
        server = [str(self._binary.path), "-host", self.host, "-port", str(port), "-config", "/dev/stdin"]
        quiet = {"LOG_LEVEL": "info" if self._log_path else "error"}
        try:
            with self._log() as log:
                child = subprocess.Popen(
                    [*die_with_parent(), *server],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    env={**quiet, **os.environ},
                    start_new_session=True,
                )
        except OSError as error:
            raise ToxiproxyError(f"cannot start {self._binary.path}: {error}; run `resilience chaos doctor`") from error
        self.starts += 1
        add_to_run(child)
        with contextlib.suppress(BrokenPipeError):  # it died at once; the caller sees that next
            _feed(child, json.dumps(config).encode())
        return child

    def _log(self) -> IO[bytes]:
        return (self._log_path or Path(os.devnull)).open("ab")

    async def _readiness(self, child: subprocess.Popen[bytes], marker: str) -> _Start:
        """Query the control API until it shows the marker, the child dies or the time is up."""
        deadline = time.monotonic() + START_S
        while (left := deadline - time.monotonic()) > 0:
            if child.poll() is not None:
                return _Start.DIED
            with contextlib.closing(self.api(min(left, ASK_S))) as api:
                answer = await _ask(api, marker)
            if answer is not None:
                return answer
            await asyncio.sleep(POLL_S)
        return _Start.LATE

    def _failure(self, outcome: _Start) -> str:
        log = f"its log, {self._log_path}, ends: {_tail(self._log_path)}" if self._log_path else "it kept no log"
        what = (
            f"ended ({describe_exit(self.exit_code or 0)})"
            if outcome is _Start.DIED
            else f"did not answer in {START_S} s"
        )
        return (
            f"{self._binary.path} on {with_port(self.host, self.api_port)} {what}; {log}; run `resilience chaos doctor`"
        )

    def _watch_exit(self) -> None:
        atexit.unregister(self.kill_now)
        atexit.register(self.kill_now)

    def _running(self) -> subprocess.Popen[bytes]:
        if self._child is None:
            raise ToxiproxyError("this toxiproxy was never started; use ToxiproxyProcess.start")
        return self._child

    def _signal(self, number: signal.Signals, doing: str) -> None:
        self._require_alive(doing)
        self._running().send_signal(number)

    def _require_alive(self, doing: str) -> None:
        if not self.alive:
            how = describe_exit(self.exit_code or 0)
            raise ToxiproxyError(f"cannot {doing} toxiproxy (pid {self.pid}): it has ended ({how}); respawn it")

    def _await_standstill(self) -> None:
        """Wait until the kernel reports the child as stopped; where that cannot be read, rely on the signal."""
        if not hasattr(os, "waitid"):
            return
        deadline = time.monotonic() + DEATH_S
        while os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
            if time.monotonic() > deadline:
                raise ToxiproxyError(
                    f"toxiproxy (pid {self.pid}) did not stop within {DEATH_S} s of SIGSTOP; kill and respawn it"
                )
            time.sleep(0.0002)
        self._require_alive("suspend")

    async def _gone(self, within_s: Seconds) -> None:
        deadline = time.monotonic() + within_s
        while self.alive and time.monotonic() < deadline:  # noqa: ASYNC110  # no loop hears of a child's death
            await asyncio.sleep(POLL_S)


async def _ask(api: ToxiproxyApi, marker: str) -> _Start | None:
    """READY if the control API is our child's, PORT_TAKEN if it is another server's, None if there is no answer yet."""
    try:
        if marker not in await api.list_proxies():
            return _Start.PORT_TAKEN
        await api.delete_proxy(marker)
    except ToxiproxyHungError:
        return _Start.LATE
    except (NotToxiproxyError, ToxiproxyRefusedError):
        return _Start.PORT_TAKEN
    except ToxiproxyError:
        return None
    return _Start.READY


def _feed(child: subprocess.Popen[bytes], text: bytes) -> None:
    """Write ``text``, shorter than a pipe's buffer, to the child's input and close it."""
    if child.stdin is not None:
        with child.stdin as pipe:
            pipe.write(text)


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-_LOG_TAIL:].strip() or "(empty)"
