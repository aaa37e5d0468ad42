"""A child process that cannot outlive the run: started, watched, ended. Knows nothing of what the child does.

Each child has a session of its own, so a terminal's Ctrl-C reaches only the runner, which then ends its children in
order. On Linux the kernel kills a child when the thread that started it ends, however that came about. Signals go to
the child's whole process group, and what is left of the group when the child has ended is killed: a program that was
started by a shell or another wrapper leaves nothing behind.

What ends a process, and when: this module, in the course of a run; :mod:`chaos.run_children`, all of a run at an abort;
when the runner itself is killed, :mod:`chaos.parent_death` for the child alone, and :mod:`chaos.group_guard` for the
group of one that may be a wrapper. :mod:`chaos.guarded_command` is for a command whose end the caller waits for.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from resilience.errors import HarnessError
from resilience.units import Seconds

from .group_guard import GroupGuard
from .parent_death import die_with_parent
from .run_children import add_to_run

LINE_LIMIT_BYTES = 1 << 22
"""The longest line a piped child may print."""

KILL_TIMEOUT_S: Seconds = 10.0
"""How long the kernel may take to end a killed process."""

_LOG_TAIL = 400


class SupervisedProcess:
    """A running child; make one with :meth:`spawn`, from the event loop's thread. Its words for people go to a log."""

    def __init__(
        self, name: str, process: asyncio.subprocess.Process, log: Path, guard: GroupGuard | None = None
    ) -> None:
        self.name, self.process, self.log, self._guard = name, process, log, guard
        self._sweeping = asyncio.create_task(self._sweep())

    @classmethod
    async def spawn(  # noqa: PLR0913 - what a process is started with
        cls,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        piped: bool = False,
        guarded: bool = False,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> SupervisedProcess:
        """Start ``command``; ``piped`` connects its standard input and output, else its output goes to the log too.

        ``guarded`` is for a program that may start others: none of them outlives the runner, however that ends. The
        program is a path, not looked up. ``env`` and ``cwd``: the runner's own by default.
        """
        with open_log(log) as out:
            guard = GroupGuard() if guarded else None
            try:
                process = await asyncio.create_subprocess_exec(
                    *die_with_parent(),
                    *command,
                    stdin=asyncio.subprocess.PIPE if piped else asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.PIPE if piped else out,
                    stderr=out,
                    env=env,
                    cwd=cwd,
                    start_new_session=True,
                    limit=LINE_LIMIT_BYTES,
                )
            except OSError as error:
                if guard is not None:
                    await guard.release()
                    guard.close()
                raise HarnessError(f"cannot start {name}: {error}") from error
        if guard is not None:
            guard.watch(process.pid)
        child = cls(name, process, log, guard)
        add_to_run(child)
        return child

    @property
    def exit_code(self) -> int | None:
        """None while it lives; minus the signal's number when a signal ended it."""
        return self.process.returncode

    async def ended(self, within: Seconds) -> bool:
        """Whether it ends by itself ``within`` so many seconds; then nothing is left of its group."""
        try:
            async with asyncio.timeout(within):
                await asyncio.shield(self._sweeping)
        except TimeoutError:
            return False
        return True

    async def stop(self, grace: Seconds, number: signal.Signals = signal.SIGTERM) -> bool:
        """The signal, then SIGKILL after ``grace`` seconds; returns whether the first sufficed.

        It has ended on return. HarnessError when it outlives SIGKILL, as a process does that hangs in the kernel.
        """
        self.signal(number)
        if await self.ended(grace):
            return True
        await self.end_now()
        return False

    async def end_now(self) -> None:
        """SIGKILL, and wait; HarnessError when the process outlives it."""
        self.kill()
        if not await self.ended(KILL_TIMEOUT_S):
            raise HarnessError(f"{self.name} (pid {self.process.pid}) outlived SIGKILL for {KILL_TIMEOUT_S:g} s")

    def kill(self) -> None:
        """SIGKILL, without waiting."""
        self.signal(signal.SIGKILL)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to its process group, unless it has ended.

        ``asyncio``'s own ``terminate`` and ``kill`` ask the kernel first whether the child has ended. If it has, they
        take its exit code away from the event loop, which then reports 255.
        """
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended, and the loop does not know yet
                os.killpg(self.process.pid, number)

    async def _sweep(self) -> None:
        """Once it has ended, kill what is left of its group; a guard does so if this task ends before the child.

        A loop that closes early, as at an interruption, cancels this task: the child is killed and waited for first.
        """
        try:
            try:
                await self.process.wait()
            except asyncio.CancelledError:
                self.kill()
                await asyncio.wait_for(self.process.wait(), KILL_TIMEOUT_S)
                raise
            with contextlib.suppress(ProcessLookupError, PermissionError):  # as a rule nothing is left
                os.killpg(self.process.pid, signal.SIGKILL)
            if self._guard is not None:
                await self._guard.release()
        finally:
            if self._guard is not None:
                self._guard.close()

    def log_tail(self) -> str:
        """The end of its log, for an error message."""
        return f"its log, {self.log}, ends: {tail_of(self.log) or '(empty)'}"


def open_log(log: Path) -> IO[bytes]:
    """Open the log of a child, to append to it, in a folder of the run directory; HarnessError when that is gone."""
    try:
        log.parent.mkdir(exist_ok=True)
        return log.open("ab")
    except OSError as error:
        raise HarnessError(f"{log}: cannot be written: {error.strerror}") from error


def tail_of(log: Path) -> str:
    """The last words of a log; none where there is no log."""
    return log.read_text(errors="replace")[-_LOG_TAIL:].strip() if log.exists() else ""


def describe_exit(code: int) -> str:
    """An exit code in words: the signal that killed the process, or the code."""
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
