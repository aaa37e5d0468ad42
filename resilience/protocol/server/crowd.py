"""Who may come back to one server process at once: all that are connected or expected back, over its events. Pure.

The return window is announced by their number: a process that ends, or a link in front of it, loses all its events.
"""

from __future__ import annotations


class ServerCrowd:
    """``size`` is the number of participants over all events of one process."""

    __slots__ = ("size",)

    def __init__(self) -> None:
        self.size = 0


class EventCrowd:
    """The participants of one event, each of which counts in the crowd of its ``server``."""

    def __init__(self, server: ServerCrowd) -> None:
        self._server = server
        self._participants: set[str] = set()

    def __len__(self) -> int:
        return len(self._participants)

    @property
    def server_size(self) -> int:
        """The number of participants over all events of the process."""
        return self._server.size

    def add(self, participant: str) -> None:
        """The participant is connected or expected back."""
        if participant not in self._participants:
            self._participants.add(participant)
            self._server.size += 1

    def discard(self, participant: str) -> None:
        """The participant is no longer expected."""
        if participant in self._participants:
            self._participants.remove(participant)
            self._server.size -= 1

    def disband(self) -> None:
        """The event runs here no longer: whatever its participants do counts for the process no more."""
        self._server.size -= len(self._participants)
        self._server = ServerCrowd()
        self._participants.clear()
