"""The processes of a run are known wherever they were started, and none survives the kill."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from chaos.run_children import RunChildren, add_to_run
from chaos.supervised import SupervisedProcess

from ..support.deadlines import HANG_S


class Child:
    """A process that counts how often it was killed."""

    def __init__(self) -> None:
        self.kills = 0

    def kill(self) -> None:
        """Count."""
        self.kills += 1


async def test_what_starts_after_the_kill_is_killed_too() -> None:
    children, before, after = RunChildren(), Child(), Child()
    children.add(before)
    assert before.kills == 0
    children.kill()
    children.add(after)
    assert (before.kills, after.kills) == (1, 1)


async def test_a_process_belongs_to_the_run_whose_task_starts_it() -> None:
    """Two runs in one process, each with tasks of its own; a process of no run is never killed."""
    runs, started = [RunChildren(), RunChildren()], [Child(), Child(), Child()]

    async def start(number: int) -> None:
        add_to_run(started[number])

    async def run(number: int) -> None:
        runs[number].become_current()
        await asyncio.gather(start(number))

    await asyncio.gather(run(0), run(1), start(2))
    runs[0].kill()
    assert [child.kills for child in started] == [1, 0, 0]


async def test_a_supervised_process_is_killed_with_its_run(tmp_path: Path) -> None:
    children = RunChildren()
    children.become_current()
    command = [sys.executable, "-c", "import time; time.sleep(600)"]
    first = await SupervisedProcess.spawn("first", command, tmp_path / "log")
    children.kill()
    second = await SupervisedProcess.spawn("second", command, tmp_path / "log")
    assert await first.ended(HANG_S)
    assert await second.ended(HANG_S)
