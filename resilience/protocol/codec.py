"""Messages to text and back. Pure. Errors name the field and the rule, never the content."""

from __future__ import annotations

import typing
from collections.abc import Callable

import msgspec

from resilience.errors import RemoteProtocolError
from resilience.protocol.messages import ClientMessage, Message, ServerMessage
from resilience.validation import violation_of

_from_client: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)
_from_server: msgspec.json.Decoder[ServerMessage] = msgspec.json.Decoder(ServerMessage)


class Unknown(msgspec.Struct, frozen=True):
    """A message of a type that only newer peers know; ``seq`` is its number in the stream, if it has one."""

    type: str
    seq: int | None = None


_headers: msgspec.json.Decoder[Unknown] = msgspec.json.Decoder(Unknown)
_server_types = frozenset(kind.__struct_config__.tag for kind in typing.get_args(ServerMessage))

encode: Callable[[Message], bytes] = msgspec.json.Encoder().encode
"""The message as JSON, UTF-8."""


def decode_client(text: str | bytes) -> ClientMessage:
    """What a client said; :class:`~resilience.errors.RemoteProtocolError` when it makes no sense."""
    try:
        return _from_client.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _protocol_error(error) from error


def decode_server(text: str | bytes) -> ServerMessage:
    """What a server said; :class:`~resilience.errors.RemoteProtocolError` when it makes no sense."""
    try:
        return _from_server.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _protocol_error(error) from error


def decode_server_lenient(text: str | bytes) -> ServerMessage | Unknown:
    """As :func:`decode_server`, but what only a newer server says is no error."""
    try:
        return decode_server(text)
    except RemoteProtocolError:
        header = _header(text)
        if header is None:
            raise
        return header


def _header(text: str | bytes) -> Unknown | None:
    try:
        header = _headers.decode(text)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
    return None if header.type in _server_types else header


def _protocol_error(error: Exception) -> RemoteProtocolError:
    violation = violation_of(error)
    return RemoteProtocolError(violation.key() or "message", violation.rule)
