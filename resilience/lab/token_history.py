"""The session tokens that a client has held, for faults that replay one. Pure."""

from __future__ import annotations

from collections import deque

from resilience.protocol.messages import AnswerResult, Joined, ProbeReply, ResumeRejected, ServerMessage, StateRestored


class TokenHistory:
    """The last tokens that a client has held, and which of them its server must refuse by now."""

    def __init__(self) -> None:
        self._held: deque[str] = deque(maxlen=3)
        self._is_confirmed = False

    @property
    def replaced(self) -> str | None:
        """The newest token that can resume nothing any more; ``None`` while none is known to be so.

        The token before the present one is accepted until the server knows that the client has the present one: any
        reply to a later message proves that. The token before both was dropped when the one between was presented.
        """
        certain = 2 if self._is_confirmed else 3
        return self._held[-certain] if len(self._held) >= certain else None

    def hold(self, token: str) -> None:
        """The client has a new token."""
        self._held.append(token)
        self._is_confirmed = False

    def receive(self, message: ServerMessage) -> None:
        """The client has taken this message."""
        match message:
            case Joined() | StateRestored():
                self.hold(message.credentials.token)
            case AnswerResult() | ProbeReply():
                self._is_confirmed = bool(self._held)
            case ResumeRejected():
                self._held.clear()
            case _:
                pass
