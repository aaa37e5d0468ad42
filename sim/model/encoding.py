"""How a message is transferred from one end to the other: the object itself, unless a test encodes it."""

from __future__ import annotations

from typing import Protocol

from resilience.protocol.messages import ClientMessage, ServerMessage


class MessageCodecHook(Protocol):
    """Both directions of the transfer."""

    def up(self, message: ClientMessage) -> ClientMessage:
        """The message as the server receives it."""

    def down(self, message: ServerMessage) -> ServerMessage:
        """The message as the clients receive it."""


class IdentityCodec:
    """Passes the sender's object on: messages are frozen values."""

    def up(self, message: ClientMessage) -> ClientMessage:
        """The same object."""
        return message

    def down(self, message: ServerMessage) -> ServerMessage:
        """The same object."""
        return message
