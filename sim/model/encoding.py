"""How a message that one end says becomes what the other hears: the object itself, unless a test encodes it."""

from __future__ import annotations

from typing import Protocol

from resilience.protocol.messages import ClientMessage, ServerMessage


class MessageCodecHook(Protocol):
    """Both directions of a message's way."""

    def up(self, message: ClientMessage) -> ClientMessage:
        """What the server hears of it."""

    def down(self, message: ServerMessage) -> ServerMessage:
        """What the clients hear of it."""


class IdentityCodec:
    """Messages are frozen values, so the receiver may have the sender's own."""

    def up(self, message: ClientMessage) -> ClientMessage:
        """The same."""
        return message

    def down(self, message: ServerMessage) -> ServerMessage:
        """The same."""
        return message
