"""Builds files of other projects once, into a folder that is kept between runs: one builder at a time. Blocking.

What is built appears in one step, by a rename, so no process sees half of it. A builder that was killed leaves its
scratch folder behind; the next one removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType

from resilience.units import Seconds

from .guarded_command import Finished, run_guarded

Say = Callable[[str], None]
"""Receives progress, a line at a time."""
Env = Mapping[str, str]

BUILD_PREFIX = "build-"
_TAIL_LINES = 8
_SIGNALLED = 128
"""What is added to a signal's number in the exit code of a program that it ended."""


def default_cache_dir(env: Env | None = None) -> Path:
    """Return the folder for files that are kept between runs; it need not exist."""
    env = os.environ if env is None else env
    base = env.get("XDG_CACHE_HOME", "")
    return (Path(base) if Path(base).is_absolute() else Path.home() / ".cache") / "quiz-resilience"


def silent(_: str) -> None:
    """Say nothing."""


def build_once(target: Path, build: Callable[[Path], Path], say: Say, *, is_usable: Callable[[Path], bool]) -> bool:
    """Have a usable ``target`` in a folder of builds; returns whether it was built now.

    ``build`` makes it in the scratch folder that it is given, and returns where. Another process may have built it
    while this one waited. Raises OSError when the folder of ``target`` cannot be made or written.
    """
    with _scratch_in(target.parent, say) as scratch:
        if target.exists() and is_usable(target):
            return False
        build(scratch).replace(target)
    say(f"built {target}")
    return True


@contextlib.contextmanager
def _scratch_in(folder: Path, say: Say) -> Iterator[Path]:
    """A new folder in ``folder`` to build in, as its only builder; removed at the end."""
    folder.mkdir(parents=True, exist_ok=True)
    with (
        _only_builder_in(folder, say),
        tempfile.TemporaryDirectory(prefix=BUILD_PREFIX, dir=folder, ignore_cleanup_errors=True) as scratch,
    ):
        yield Path(scratch)


@contextlib.contextmanager
def _only_builder_in(folder: Path, say: Say) -> Iterator[None]:
    """Hold the folder's lock, and remove what a killed build has left there."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        if _lock(descriptor, folder, say):
            for left in folder.glob(f"{BUILD_PREFIX}*"):
                shutil.rmtree(left, ignore_errors=True)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, folder: Path, say: Say) -> bool:
    """Whether the lock is held now; not where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        say(f"another process builds in {folder}: waiting for it")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    except OSError:
        return False
    return True


def with_scratch(env: Env, scratch: Path) -> dict[str, str]:
    """An environment in which programs make their temporary files in ``scratch``, so that a killed one leaves none."""
    return {**env, "TMPDIR": str(scratch.absolute())}


def run_build(
    command: Sequence[str], within: Seconds, env: Env, say: Say, *, directory: Path | None = None
) -> Finished:
    """Run a command of a build for at most ``within`` seconds and pass on each printed line.

    SIGTERM kills the command and unwinds the stack, so that what was begun is removed.
    """
    with _sigterm_raises():
        return run_guarded(command, within, env=env, directory=directory, on_line=say)


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Have SIGTERM unwind the stack; in the main thread, unless it is handled."""
    default = signal.SIG_DFL
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is not default:
        yield
        return

    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(_SIGNALLED + number)

    signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, default)


def last_lines(output: str) -> str:
    """The end of what a command printed, in one line."""
    return " | ".join(output.splitlines()[-_TAIL_LINES:]) or "no output"
