"""The processes of one run, so that all can be killed at once, wherever they were started.

Every process that a task of the run starts is added where it is started. Whatever starts after the kill is killed as
soon as it is added.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Protocol
from weakref import WeakSet


class Child(Protocol):
    """A running process."""

    def kill(self) -> None:
        """SIGKILL, without waiting; no effect on a process that has ended."""


class RunChildren:
    """The processes of one run; to be used from the thread of its event loop."""

    def __init__(self) -> None:
        self._children: WeakSet[Child] = WeakSet()
        self._is_killed = False

    def become_current(self) -> None:
        """Take the processes that this task and the tasks that it creates start from now on."""
        _CURRENT.set(self)

    def add(self, child: Child) -> None:
        """Take a process that has just started."""
        self._children.add(child)
        if self._is_killed:
            child.kill()

    def kill(self) -> None:
        """Kill all, and from now on each that is added."""
        self._is_killed = True
        for child in self._children:
            child.kill()


_CURRENT: ContextVar[RunChildren] = ContextVar("the processes of the run that this task is part of")


def add_to_run(child: Child) -> None:
    """Add a process that has just started to the run that this task is part of, if it is part of one."""
    children = _CURRENT.get(None)
    if children is not None:
        children.add(child)
