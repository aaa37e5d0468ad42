"""What a client makes of a server that is newer than itself, and of one that is broken."""

from __future__ import annotations

import typing

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.errors import RemoteProtocolError
from resilience.protocol import codec
from resilience.protocol.messages import Ping, ServerMessage


@pytest.mark.parametrize(
    "text, expected",
    [
        ('{"type":"fireworks"}', codec.Unknown("fireworks")),
        ('{"type":"fireworks","seq":7,"colour":[{"deep":null}]}', codec.Unknown("fireworks", 7)),
        ('{"type":"ping","id":1,"spread_ms":1,"step_ms":1,"cap_ms":1,"mood":"good"}', Ping(1, 1, 1, 1)),
    ],
)
def test_unknown_types_and_unknown_fields_are_no_errors(text: str, expected: object) -> None:
    """A newer server may say more."""
    assert codec.decode_server_lenient(text) == expected


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"kind":"ping"}', '{"type":7}', '{"type":null}', '{"type":"x","seq":"y"}', "[" * 10_000, b"\xff"],
)
def test_what_has_no_type_is_broken(text: str | bytes) -> None:
    """And a broken message is an error."""
    with pytest.raises(RemoteProtocolError):
        codec.decode_server_lenient(text)


@pytest.mark.parametrize("kind", typing.get_args(ServerMessage), ids=lambda kind: kind.__name__)
def test_a_known_type_with_broken_fields_is_broken(kind: type[msgspec.Struct]) -> None:
    """It is not taken for a newer server's."""
    with pytest.raises(RemoteProtocolError):
        codec.decode_server_lenient(msgspec.json.encode({"type": kind.__struct_config__.tag, "seq": 1}))


@given(st.binary(max_size=60) | st.text(max_size=60))
def test_anything_is_a_message_unknown_or_an_error(text: str | bytes) -> None:
    """Nothing else comes out."""
    try:
        message = codec.decode_server_lenient(text)
    except RemoteProtocolError:
        return
    assert isinstance(message, codec.Unknown | ServerMessage)
