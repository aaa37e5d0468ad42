"""Messages to text and back. Pure. Errors name the field and the rule, never the content."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from resilience.errors import RemoteProtocolError
from resilience.protocol.messages import ClientMessage, Message, ServerMessage

_from_client: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)
_from_server: msgspec.json.Decoder[ServerMessage] = msgspec.json.Decoder(ServerMessage)


encode: Callable[[Message], bytes] = msgspec.json.Encoder().encode
"""The message as JSON, UTF-8."""


def decode_client(text: str | bytes) -> ClientMessage:
    """What a client said; :class:`~resilience.errors.RemoteProtocolError` when it makes no sense."""
    try:
        return _from_client.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _complaint(error) from error


def decode_server(text: str | bytes) -> ServerMessage:
    """What a server said; :class:`~resilience.errors.RemoteProtocolError` when it makes no sense."""
    try:
        return _from_server.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _complaint(error) from error


def _complaint(error: Exception) -> RemoteProtocolError:
    rule, _, where = str(error).partition(" - at `$")
    field = rule.split("`")[1] if "field `" in rule else ""  # missing or unknown: named by the rule, not by the path
    path = [part for part in (where.rstrip("`").lstrip("."), field) if part]
    return RemoteProtocolError(".".join(path) or "message", rule)
