"""Messages to text and back, and what is said about text that is no message."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given

from resilience.errors import RemoteProtocolError
from resilience.protocol import codec
from resilience.protocol.messages import (
    ClientMessage,
    Join,
    Message,
    OpenQuestion,
    QuestionOpened,
    ServerMessage,
    label_problem,
)
from tests.support.strategies import CLIENT_MESSAGES, SERVER_MESSAGES

GOOD = '{"type":"answer","question":"q1","choice":2,"key":"k"}'
DECODERS = [codec.decode_client, codec.decode_server]


@given(CLIENT_MESSAGES)
def test_client_messages_come_back_equal(message: ClientMessage) -> None:
    """What a client says is what the server hears, as text and as bytes."""
    text = codec.encode(message).decode()
    assert codec.decode_client(text) == message == codec.decode_client(text.encode())


@given(SERVER_MESSAGES)
def test_server_messages_come_back_equal(message: ServerMessage) -> None:
    """What the server says is what a client hears."""
    assert codec.decode_server(codec.encode(message)) == message


@given(SERVER_MESSAGES)
def test_messages_are_one_line(message: ServerMessage) -> None:
    """Text of a message contains no raw control characters."""
    assert codec.encode(message).decode().isprintable() or b"\n" not in codec.encode(message)


@pytest.mark.parametrize(
    "text, field",
    [
        ('{"type":"nope"}', "type"),
        ('{"type":5}', "type"),
        ('{"question":"q1"}', "type"),
        ('{"type":"joined"}', "type"),
        ('{"type":"answer","question":"q1","key":"k"}', "choice"),
        ('{"type":"answer","question":"q1","choice":"2","key":"k"}', "choice"),
        ('{"type":"answer","question":"q1","choice":2.5,"key":"k"}', "choice"),
        ('{"type":"answer","question":"q1","choice":true,"key":"k"}', "choice"),
        ('{"type":"answer","question":null,"choice":2,"key":"k"}', "question"),
        ('{"type":"answer","question":"q1","choice":2,"key":"k","more":1}', "more"),
        ('{"type":"join","event":"e","name":"ann"}', "instance"),
        ('{"type":"pong","id":1e400}', "id"),
        ('{"type":"pong","id":' + "9" * 5000 + "}", "id"),
        ("[]", "message"),
        ("", "message"),
        ("{", "message"),
        ("nonsense", "message"),
    ],
)
def test_the_complaint_names_the_field(text: str, field: str) -> None:
    """Unknown types, wrong types, missing and unknown fields are distinguished by the field that is at fault."""
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode_client(text)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text, field",
    [
        ('{"type":"joined","credentials":{"participant":5}}', "credentials.participant"),
        ('{"type":"joined","credentials":{}}', "credentials.participant"),
        ('{"type":"leaderboard_shown","seq":1,"leaders":[{"participant":"p1","score":"x"}]}', "leaders[0].score"),
    ],
)
def test_the_complaint_names_the_path(text: str, field: str) -> None:
    """A fault inside a message is named by its whole path."""
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode_server(text)
    assert caught.value.field == field


@pytest.mark.parametrize("decode", DECODERS)
def test_ten_thousand_random_inputs_raise_nothing_else(decode: Callable[[bytes], Message]) -> None:
    """Noise, and real messages with bytes changed, are refused with the one error or read."""
    source = random.Random(1)
    for i in range(10_000):
        data = bytearray(source.randbytes(source.randrange(60)) if i % 2 else GOOD.encode())
        for _ in range(source.randrange(4)):
            if data:
                data[source.randrange(len(data))] = source.randrange(256)
        try:
            decode(bytes(data))
        except RemoteProtocolError as error:
            assert error.field  # noqa: PT017 - most inputs raise, some do not


@pytest.mark.parametrize("decode", DECODERS)
@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        '{"type":"joined","snapshot":{"roster":' + "[" * 100_000,
        '{"type":' * 50_000,
        b'{"type":"\xff"}',
        "\ud800",
    ],
    ids=["arrays", "raw", "objects", "bytes", "surrogate"],
)
def test_hostile_input_is_refused_like_any_other(decode: Callable[[str | bytes], Message], text: str | bytes) -> None:
    """Depth beyond any stack and text that is no Unicode end in the same error."""
    with pytest.raises(RemoteProtocolError):
        decode(text)


def test_errors_do_not_quote_the_content() -> None:
    """A token in a broken message must not end up in a log."""
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode_client('{"type":"resume","event":"e","token":"secret","instance":7}')
    assert "secret" not in str(caught.value)


def test_a_hidden_answer_takes_no_room_on_the_wire() -> None:
    """A question that is open has no ``correct`` at all, not even an empty one."""
    question = OpenQuestion("q1", "1 + 1 = ?", ("1", "2"), 6000, 6000)
    assert b"correct" not in codec.encode(QuestionOpened(1, question))
    assert b'"correct":1' in codec.encode(QuestionOpened(1, msgspec.structs.replace(question, correct=1)))


@pytest.mark.parametrize("name", ["   ", "\u200b\u200d", "\u202egnp.exe", "a\nb"])
def test_a_name_that_shows_nothing_or_misleads_is_refused_with_words(name: str) -> None:
    """For people who chose the name: no regular expression. A client judges by the same rule before it connects."""
    with pytest.raises(RemoteProtocolError) as refused:
        codec.decode_client(codec.encode(Join(event="quiz", name=name, instance="i")))
    assert refused.value.field == "name"
    assert refused.value.rule == label_problem(name)
    assert "at least one visible character" in refused.value.rule
    assert label_problem("Ada 🙂") is None
