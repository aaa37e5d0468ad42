"""Runs a script or module unchanged, in an observable process: ``python instrumented_server.py NAME ARGUMENT...``.

SIGUSR1 collects garbage and hands free memory back to the system, so that what remains is what is in use; it is
answered with one line, ``collected`` and the number of unfinished tasks, on standard output. ``PROFILE=FILE`` in the
environment profiles the main thread between two SIGUSR2 and writes FILE.
"""

from __future__ import annotations

import asyncio
import cProfile
import ctypes
import gc
import os
import resource
import runpy
import signal
import sys
from pathlib import Path

_profile = cProfile.Profile()
_on: list[bool] = []


def _collect(_signal: int, _frame: object) -> None:
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    os.write(
        1, b"collected %d\n" % sum(isinstance(each, asyncio.Task) and not each.done() for each in gc.get_objects())
    )


def _toggle(_signal: int, _frame: object) -> None:
    if _on:
        _profile.disable()
        _profile.dump_stats(os.environ["PROFILE"])
        _on.clear()
    else:
        _on.append(True)
        _profile.enable()


def main() -> None:
    """Become what was asked for."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    signal.signal(signal.SIGUSR1, _collect)
    if "PROFILE" in os.environ:
        signal.signal(signal.SIGUSR2, _toggle)
    sys.argv = sys.argv[1:]
    name = sys.argv[0]
    if Path(name).exists():
        runpy.run_path(name, run_name="__main__")
    else:
        runpy.run_module(name, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
