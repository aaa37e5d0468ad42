"""Which session a token stands for, and which tokens have had their day. Only hashes are kept. Pure."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum

from resilience.protocol.server.session import ServerSession

MAX_RETIRED_TOKENS = 50_000
"""Retired tokens that are still told apart from guesses."""


class ResumeRejection(StrEnum):
    """Why a token opens nothing."""

    UNKNOWN = "unknown"
    """No token of this server, or one that is long gone."""
    RETIRED = "retired"
    """It was replaced, and its successor is in use: somebody replays an old one."""


class TokenRegistry:
    """The accepted tokens of one room; ``fresh`` makes unguessable ones."""

    def __init__(self, fresh: Callable[[], str]) -> None:
        self._new_token = fresh
        self._sessions: dict[str, ServerSession] = {}
        self._retired: OrderedDict[str, str] = OrderedDict()

    def find(self, presented: str) -> ServerSession | None:
        """Whose token this is the hash of, if it is accepted."""
        return self._sessions.get(presented)

    def rejection_of(self, presented: str) -> tuple[ResumeRejection, str | None]:
        """Why the token with this hash opens nothing, and whose it was."""
        owner = self._retired.get(presented)
        return (ResumeRejection.UNKNOWN if owner is None else ResumeRejection.RETIRED), owner

    def restore(self, session: ServerSession) -> None:
        """Accept the tokens that a stored session has."""
        for accepted in session.token_hashes:
            self._sessions[accepted] = session

    def rotate(self, session: ServerSession, presented: str | None) -> str:
        """A new token for a session; the one it presented stays accepted until the new one is known to be kept."""
        token = self._new_token()
        for held in session.token_hashes:
            if held != presented:
                self._retire(held, session)
        session.accept_tokens(token_hash(token), presented)
        self.restore(session)
        return token

    def stored(self, session: ServerSession, generation: int) -> bool:
        """The client keeps the token of this generation; returns whether that changed what is accepted."""
        was_confirmed = session.confirmed
        retired = session.token_stored(generation)
        if retired is not None:
            self._retire(retired, session)
        return retired is not None or not was_confirmed

    def forget(self, session: ServerSession) -> None:
        """The session never was."""
        for held in session.token_hashes:
            del self._sessions[held]

    def _retire(self, held: str, session: ServerSession) -> None:
        del self._sessions[held]
        self._retired[held] = session.participant
        if len(self._retired) > MAX_RETIRED_TOKENS:
            self._retired.popitem(last=False)


def token_hash(token: str) -> str:
    """What is kept of a session token: its SHA-256, hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()
