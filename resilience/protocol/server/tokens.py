"""Session tokens: which are accepted and for whom, which are retired, which the client is known to hold. Pure.

This is the only place with token state. Only hashes are kept.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from enum import StrEnum

import msgspec

from resilience.protocol.effects import SessionRow

MAX_RETIRED_TOKENS = 50_000
"""Number of retired tokens that are still told apart from guesses; the oldest is dropped first."""


class ResumeRejection(StrEnum):
    """Why a token is not accepted."""

    UNKNOWN = "unknown"
    """No token of this server, and the participant that the client names, if any, is not here."""
    RETIRED = "retired"
    """It was replaced and its successor is in use: another tab, or a thief, presents an old token."""
    SUPERSEDED = "superseded"
    """The participant that the client names has another token: another client resumed its session since."""


class TokenState(msgspec.Struct, gc=False):
    """The tokens of one participant.

    ``generation`` counts the tokens made, ``hashes`` are the accepted ones, newest first, ``confirmed`` says whether
    the client is known to hold its first token.
    """

    generation: int = 0
    hashes: tuple[str, ...] = ()
    confirmed: bool = False


class TokenRegistry:
    """The tokens of one room. ``new_token`` makes an unguessable token for a participant."""

    def __init__(self, new_token: Callable[[str], str]) -> None:
        self._new_token = new_token
        self._states: dict[str, TokenState] = {}
        self._owners: dict[str, str] = {}
        self._retired: OrderedDict[str, str] = OrderedDict()

    def find(self, presented: str) -> str | None:
        """The participant whose accepted token has this hash."""
        return self._owners.get(presented)

    def rejection_of(self, presented: str) -> tuple[ResumeRejection, str | None]:
        """Why the token with this hash is not accepted, and whose it was."""
        owner = self._retired.get(presented)
        return (ResumeRejection.UNKNOWN if owner is None else ResumeRejection.RETIRED), owner

    def state_of(self, participant: str) -> TokenState:
        """The tokens of one participant; none for an unknown one."""
        return self._states.get(participant) or TokenState()

    def restore(self, row: SessionRow) -> None:
        """Accept the tokens of a stored session."""
        self._states[row.participant] = TokenState(row.generation, row.token_hashes, row.confirmed)
        self._owners.update(dict.fromkeys(row.token_hashes, row.participant))

    def rotate(self, participant: str, presented: str | None) -> str:
        """Make a new token; the one with hash ``presented`` stays accepted until the client confirms the new one."""
        token = self._new_token(participant)
        state = self._states.get(participant)
        if state is None:
            state = self._states[participant] = TokenState()
        for held in state.hashes:
            if held != presented:
                self._retire(held, participant)
        fresh = token_hash(token)
        state.generation += 1
        state.hashes = (fresh,) if presented is None else (fresh, presented)
        self._owners[fresh] = participant
        return token

    def confirm(self, participant: str, generation: int) -> bool:
        """The client holds the token of this generation; returns whether that changed anything.

        Confirming the newest one retires the token before it.
        """
        state = self._states[participant]
        changed, state.confirmed = not state.confirmed, True
        if generation != state.generation or len(state.hashes) == 1:
            return changed
        self._retire(state.hashes[1], participant)
        state.hashes = state.hashes[:1]
        return True

    def forget(self, participant: str) -> None:
        """Drop a participant whose join never reached its client; its tokens become unknown."""
        for held in self._states.pop(participant, TokenState()).hashes:
            del self._owners[held]

    def _retire(self, held: str, participant: str) -> None:
        del self._owners[held]
        self._retired[held] = participant
        if len(self._retired) > MAX_RETIRED_TOKENS:
            self._retired.popitem(last=False)


def token_hash(token: str) -> str:
    """What is kept of a session token: its SHA-256, hexadecimal."""
    return hashlib.sha256(token.encode()).hexdigest()
