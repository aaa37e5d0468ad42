"""Runs a process's one coroutine on the fastest event loop that is installed: ``uvloop``, else asyncio's own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


def run_on_fast_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run it to its end."""
    try:
        import uvloop  # noqa: PLC0415 - optional
    except ModuleNotFoundError:
        asyncio.run(main)
    else:
        uvloop.run(main)
