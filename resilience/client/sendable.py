"""Checks before a message is sent that the server would accept it, by the server's own decoder. Sends nothing.

A name that the server rejects, or that UTF-8 cannot express, is an error of the caller, at the call.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import msgspec.inspect

from resilience.errors import ConfigError, RemoteProtocolError
from resilience.protocol import codec
from resilience.protocol.messages import ClientMessage

_PATTERN = "Expected `str` with "
"""How the decoder begins the rule of a text's pattern; what it must have follows."""

UNENCODABLE = "must be text that UTF-8 can express, without half a character"


def require_sendable(message: ClientMessage, hidden: Mapping[str, str] | None = None) -> None:
    """Raise :class:`~resilience.errors.ConfigError` for the first field that the server would reject.

    ``hidden`` maps the fields whose values are secret to their names for people.
    """
    hidden = hidden or {}
    for field in message.__struct_fields__:
        if not _is_encodable(getattr(message, field)):
            raise _error(message, field, UNENCODABLE, hidden)
    try:
        codec.decode_client(codec.encode(message))
    except RemoteProtocolError as error:
        raise _error(message, error.field, _in_words(message, error.field, error.rule), hidden) from error


def _in_words(message: ClientMessage, field: str, rule: str) -> str:
    """The rule of a text for a person; any other rule as the server's decoder says it."""
    if rule.startswith(_PATTERN):
        return f"must have {rule.removeprefix(_PATTERN)}"
    kinds = {each.name: each.type for each in msgspec.inspect.type_info(type(message)).fields}  # type: ignore[attr-defined]
    kind = kinds.get(field)
    if "of length" in rule and isinstance(kind, msgspec.inspect.StrType):
        return f"must have {kind.min_length} to {kind.max_length} characters"
    return rule


def _is_encodable(value: object) -> bool:
    try:
        msgspec.json.encode(value)
    except UnicodeEncodeError:
        return False
    return True


def _error(message: ClientMessage, field: str, rule: str, hidden: Mapping[str, str]) -> ConfigError:
    """The value is shown if it is no secret and short: a plan has its own reader, which names the place."""
    value = getattr(message, field, None)
    if field in hidden or not isinstance(value, str | int):
        return ConfigError(hidden.get(field, field), "...", rule)
    return ConfigError(field, value, rule)
