"""Runs a command of another project to its end: neither it nor anything that it starts outlives the caller. Blocking.

A guard process leads a session of its own and starts the command in it. The guard's standard input is a pipe from the
caller. The pipe ends when the caller kills it, drops it or ends in whatever way, SIGKILL included; then the guard kills
the session's process group: the command, its children and itself. What a command that has ended leaves of its group is
killed too.

For a command that runs while the caller does other work, see :mod:`chaos.supervised`.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from resilience.units import Seconds

_PYTHON = sys.executable

_GUARD = """
import os, signal, subprocess, sys, threading
def watch():
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)
try:
    child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
except OSError as error:
    sys.exit(str(error))
threading.Thread(target=watch, daemon=True).start()
code = child.wait()
os._exit(code if code >= 0 else 128 - code)
"""


@dataclass(frozen=True, slots=True)
class Finished:
    """How a command ended. ``code``: its exit code, 128 + n after signal n; ``output``: both its streams, as lines.

    ``is_overdue``: it did not end in time and was killed.
    """

    code: int
    output: str
    is_overdue: bool


def _ignore(_: str) -> None:
    """Drop a line."""


def run_guarded(
    command: Sequence[str],
    within: Seconds,
    *,
    env: Mapping[str, str] | None = None,
    directory: Path | None = None,
    on_line: Callable[[str], None] = _ignore,
) -> Finished:
    """Run ``command`` for at most ``within`` seconds, in ``directory``; ``on_line`` receives each line that it prints.

    Whatever is raised meanwhile, by a signal handler too, kills the command first. A command that cannot be started
    has exit code 1 and the system's message as its output.
    """
    lines: list[str] = []
    overdue = threading.Event()
    with subprocess.Popen(
        [_PYTHON, "-I", "-S", "-c", _GUARD, *command],
        env=env,
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as guard:

        def end_overdue() -> None:
            overdue.set()
            _kill_group(guard)

        timer = threading.Timer(within, end_overdue)
        timer.start()
        try:
            for line in guard.stdout or ():
                lines.append(line.rstrip())
                on_line(lines[-1])
        finally:
            timer.cancel()
            _kill_group(guard)  # all of it if something was raised, else what is left; the guard's code stays as it is
    return Finished(guard.returncode, "\n".join(lines), overdue.is_set())


def _kill_group(guard: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # it has ended; macOS says it in the second way
        os.killpg(guard.pid, signal.SIGKILL)
