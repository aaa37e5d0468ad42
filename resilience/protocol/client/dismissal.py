"""How a server ends a client for good. A pure value."""

from __future__ import annotations

from typing import Self

import msgspec

REJECTED = "rejected"
"""The cause of a dismissal by an error message."""


class Dismissal(msgspec.Struct, frozen=True):
    """The server's last word to a client that must not come back by itself.

    ``code`` is the close code of an open connection, ``status`` the HTTP status of a handshake that was not accepted.
    Without either, the server rejected the first message. ``reason``: the server's words, empty if it gave none; they
    may contain anything, so a terminal must not obey them.
    """

    code: int | None = None
    status: int | None = None
    reason: str = ""

    @property
    def cause(self) -> str:
        """The cause in the event log: the close code, ``status_<n>``, or ``rejected``."""
        if self.code is not None:
            return str(int(self.code))
        return REJECTED if self.status is None else f"status_{self.status}"

    @classmethod
    def from_log(cls, cause: str | None, reason: str | None) -> Self:
        """The dismissal that a log event with this cause and detail stands for."""
        family, _, number = (cause or "").rpartition("_")
        value = int(number) if number.isdecimal() else None
        return cls(value, None, reason or "") if family == "" else cls(None, value, reason or "")
