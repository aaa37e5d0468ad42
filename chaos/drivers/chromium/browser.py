"""The Chromium of one driver: found, started with the flags of a laboratory, killed. Knows no client and no page.

Chromium runs in the driver's own process group, unlike one that Playwright starts. So what the laboratory does to a
driver happens to the browser and to all its tabs in the same moment: it is suspended with the driver as a computer
that sleeps, and nothing of it outlives the driver.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from resilience.errors import HarnessError, UsageError
from resilience.units import Seconds

from ...parent_death import die_with_parent
from ...supervised import describe_exit

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
"""Under these names Chromium and Chrome are looked up on PATH, in this order."""

CHROME_PATH = "CHROME_PATH"
"""The environment variable that may name the program."""

FLAGS = (
    "--headless",
    "--disable-gpu",
    "--in-process-gpu",  # pages are drawn all the same: no process of its own for that, and one thread for their tiles
    "--num-raster-threads=1",
    "--disable-quic",
    "--disable-dev-shm-usage",  # a container's shared memory is small
    "--no-first-run",
    "--no-default-browser-check",
    "--no-proxy-server",  # the clients' way leads through the laboratory's own proxies
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--mute-audio",
    # Each tab stands for a person who has it before their eyes.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
    # A page may connect to the proxies on this machine wherever it comes from, and a page in a file import its modules.
    "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessChecksWebSockets,Translate",
    "--allow-file-access-from-files",
)
"""What Chromium is started with, besides its profile and the port of its DevTools."""

START_TIMEOUT_S: Seconds = 25.0
_PAUSE_S: Seconds = 0.02
_MOST_CHARACTERS = 400
_PREFIX = "resilience-chromium-"
_LOCK, _LOG, _PORT_FILE = "in-use.lock", "chromium.log", "DevToolsActivePort"


def find_chromium(given: str | None, environ: Mapping[str, str]) -> str:
    """The program: the one that is ``given``, that CHROME_PATH names, or that is on PATH.

    UsageError for a name under which there is none, HarnessError where this machine has none.
    """
    named = [("--browser", given), (CHROME_PATH, environ.get(CHROME_PATH))]
    path = environ.get("PATH")
    for source, name in named:
        if name:
            found = shutil.which(name, path=path)
            if found is None:
                raise UsageError(f"{source}: {name!r}: no such program, or not executable; name Chromium or Chrome")
            return found
    for name in PROGRAMS:
        if found := shutil.which(name, path=path):
            return found
    looked = f"none of {', '.join(PROGRAMS)} is on PATH"
    raise HarnessError(f"no Chromium: {looked}; install it, or name the program with --browser or {CHROME_PATH}")


class BrowserProcess:
    """A Chromium that runs, with a profile of its own that is removed with it."""

    def __init__(self, process: asyncio.subprocess.Process, profile: Path, lock: int) -> None:
        self._process, self._profile, self._lock = process, profile, lock

    @classmethod
    async def start(cls, program: str, flags: Sequence[str]) -> Self:
        """Start ``program`` with more ``flags``. HarnessError when it cannot be started."""
        remove_stale_profiles()
        profile = Path(tempfile.mkdtemp(prefix=_PREFIX))
        lock = os.open(profile / _LOCK, os.O_RDWR | os.O_CREAT)
        fcntl.flock(lock, fcntl.LOCK_EX)
        root = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium's sandbox refuses to run as root
        own = ["--remote-debugging-port=0", f"--user-data-dir={profile}"]
        with (profile / _LOG).open("wb") as log:
            process = await asyncio.create_subprocess_exec(
                *die_with_parent(),
                program,
                *(*FLAGS, *root, *own, *flags),
                "about:blank",
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return cls(process, profile, lock)

    async def endpoint(self) -> str:
        """The address of its DevTools, once it listens there. HarnessError when it does not."""
        file = self._profile / _PORT_FILE
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT_S):
                while self._process.returncode is None:
                    lines = file.read_text("utf-8").split() if file.exists() else []
                    if len(lines) == 2:  # noqa: PLR2004 - a port and a path
                        return f"ws://127.0.0.1:{lines[0]}{lines[1]}"
                    await asyncio.sleep(_PAUSE_S)
        if self._process.returncode is None:
            raise HarnessError(f"Chromium was not ready within {START_TIMEOUT_S:g} s; {self._log_tail()}")
        raise HarnessError(await self.ended())

    async def ended(self) -> str:
        """Wait until it ends by itself; how that came about, in words."""
        code = await self._process.wait()
        return f"Chromium ended by itself ({describe_exit(code)}); {self._log_tail()}"

    async def kill(self) -> None:
        """End it and all its tabs at once, and remove its profile."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()
        await self._process.wait()
        os.close(self._lock)
        _remove(self._profile)

    def _log_tail(self) -> str:
        return f"its log ends: {log_tail(self._profile / _LOG) or '(empty)'}"


def log_tail(log: Path) -> str:
    """What Chromium wrote last, in one line, but what it says of a message bus that no container has."""
    lines = log.read_text("utf-8", errors="replace").splitlines() if log.exists() else []
    return " ".join(" ".join(line for line in lines if "dbus" not in line.lower()).split())[-_MOST_CHARACTERS:]


def remove_stale_profiles() -> None:
    """Remove the profiles of drivers that were killed: nothing locks them."""
    for profile in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = os.open(profile / _LOCK, os.O_RDWR)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _remove(profile)
            finally:
                os.close(lock)


def _remove(profile: Path) -> None:
    """Remove a profile; processes that are just ending may still write to it."""
    for _ in range(3):
        shutil.rmtree(profile, ignore_errors=True)
        if not profile.exists():
            return
