"""Kills a process group when the process that started it ends without having done so, SIGKILL included.

For programs of others, which may start programs of their own: ``prctl`` (:mod:`chaos.parent_death`) reaches only the
first of them, and nothing where there is no Linux. The guard is a process in a session of its own, since the group has
to be suspended, signalled and waited for without it. Its standard input is a pipe from the caller, which names
the group and later releases the guard; a pipe that ends without a release has lost its caller.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

from resilience.errors import HarnessError
from resilience.units import Seconds

_GUARD = """
import os, signal, sys
group = sys.stdin.readline()
if group and not sys.stdin.readline():
    os.killpg(int(group), signal.SIGKILL)
"""

_PAUSE_S: Seconds = 0.005
"""Between two questions whether the guard has ended."""


class GroupGuard:
    """A guard of one process group; start it before the group, so that no moment is unguarded.

    HarnessError when the system has no process or pipe left for it. Its maker calls :meth:`close`.
    """

    def __init__(self) -> None:
        try:
            read, self._pipe = os.pipe()
            try:
                self._pid = _spawn_guard(read)
            finally:
                os.close(read)
        except OSError as error:
            raise HarnessError(f"cannot start a guard of child processes: {error}") from error

    def watch(self, group: int) -> None:
        """Guard the process group of this number."""
        self._write(b"%d\n" % group)

    async def release(self) -> None:
        """End the guard, and wait for its end: its group has ended, or never began."""
        self._write(b"\n\n")
        while not self._has_ended():  # noqa: ASYNC110 - the loop watches only processes of its own
            await asyncio.sleep(_PAUSE_S)

    def close(self) -> None:
        """Close the pipe; a guard that was not released kills its group now."""
        os.close(self._pipe)

    def _has_ended(self) -> bool:
        try:
            return os.waitpid(self._pid, os.WNOHANG) != (0, 0)
        except ChildProcessError:
            return True

    def _write(self, line: bytes) -> None:
        with contextlib.suppress(BrokenPipeError):  # a guard that was killed guards no more
            os.write(self._pipe, line)


def _spawn_guard(stdin: int) -> int:
    """Start the guard's process; returns its id."""
    nowhere = (os.devnull, os.O_WRONLY, 0)
    actions = [(os.POSIX_SPAWN_DUP2, stdin, 0), *[(os.POSIX_SPAWN_OPEN, fd, *nowhere) for fd in (1, 2)]]
    command = [sys.executable, "-I", "-S", "-c", _GUARD]
    return os.posix_spawn(sys.executable, command, {}, file_actions=actions, setsid=True)
