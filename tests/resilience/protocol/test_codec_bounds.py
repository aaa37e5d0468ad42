"""What a peer may make this server read and keep is bounded, and whatever breaks a bound is named by its field."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.errors import RemoteProtocolError
from resilience.protocol import codec
from resilience.protocol.messages import Answer, CreateEvent, Join, Pong, Resume
from resilience.quiz.plan import MAX_QUESTIONS

JOIN = {"type": "join", "event": "e", "name": "ann", "instance": "i"}
RESUME = {"type": "resume", "event": "e", "token": "t"}
ANSWER = {"type": "answer", "question": "q1", "choice": 2, "key": "k"}
HOST = {"type": "host", "event": "e", "key": "k"}
QUESTION = {"id": "q1", "text": "?", "choices": ["1", "2"], "correct": 0, "time_s": 5}


def create(*questions: dict[str, Any], **plan: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    """A ``create_event``."""
    return {"type": "create_event", "plan": {"questions": list(questions) or [QUESTION], **plan}}


def refusal(message: object) -> RemoteProtocolError:
    """How a message, or a text, is refused."""
    with pytest.raises(RemoteProtocolError) as caught:
        codec.decode_client(message if isinstance(message, str | bytes) else json.dumps(message))
    assert "\n" not in str(caught.value)
    return caught.value


WORDS = [(JOIN, "event"), (JOIN, "name"), (JOIN, "instance"), (ANSWER, "question"), (ANSWER, "key"), (HOST, "event")]


@pytest.mark.parametrize("message, field", WORDS)
@pytest.mark.parametrize("length", [1, 64])
def test_words_have_1_to_64_characters(message: dict[str, object], field: str, length: int) -> None:
    """Characters, not bytes: 64 of four bytes each are fine."""
    words = "😀" * length
    assert getattr(codec.decode_client(json.dumps({**message, field: words})), field) == words


@pytest.mark.parametrize("message, field", WORDS)
@pytest.mark.parametrize("length", [0, 65, 10_000])
def test_other_lengths_are_refused_by_field(message: dict[str, object], field: str, length: int) -> None:
    """Nothing, or more than is kept."""
    assert refusal({**message, field: "x" * length}).field == field


@pytest.mark.parametrize("message, field", [(RESUME, "token"), (HOST, "key")])
def test_secrets_have_1_to_256_characters(message: dict[str, object], field: str) -> None:
    """What is hashed or compared is bounded too, and never quoted."""
    codec.decode_client(json.dumps({**message, field: "s" * 256}))
    assert refusal({**message, field: ""}).field == field
    error = refusal({**message, field: "s" * 257})
    assert (error.field, "sss" in str(error)) == (field, False)


@pytest.mark.parametrize("message, field", [(JOIN, "name"), (JOIN, "event"), (ANSWER, "key"), (HOST, "event")])
def test_no_word_has_a_null_character(message: dict[str, object], field: str) -> None:
    """PostgreSQL accepts none: one client's name must not fail the commit of all others."""
    assert refusal({**message, field: "a\0b"}).field == field


@pytest.mark.parametrize(
    "number", ["NaN", "Infinity", "-Infinity", "1e400", "-1", "9007199254740992", "1" * 400, "1.5"]
)
def test_counts_are_whole_and_fit_every_language(number: str) -> None:
    """0 to 2**53 - 1; what is no number at all is named like any other text that is no JSON."""
    error = refusal('{"type":"pong","id":' + number + "}")
    assert error.field in {"id", "message"}
    assert codec.decode_client('{"type":"pong","id":9007199254740991}') == Pong(2**53 - 1)


@pytest.mark.parametrize("choice", [2**31, -(2**31) - 1, 2**63, 10**30, 1.5, None, "1", True, [1]])
def test_a_choice_is_a_small_whole_number(choice: object) -> None:
    """What a database column holds; the game says whether the question has it."""
    assert refusal({**ANSWER, "choice": choice}).field == "choice"


def test_of_a_repeated_key_the_last_counts_and_is_checked() -> None:
    """A bad value cannot hide behind a good one, nor the other way round."""
    assert codec.decode_client('{"type":"answer","question":"q","choice":1,"choice":3,"key":"k"}') == Answer(
        "q", 3, "k"
    )
    refusal('{"type":"answer","question":"q","choice":1,"choice":"x","key":"k"}')
    refusal('{"type":"answer","question":"q","choice":"x","choice":1,"key":"k"}')


@pytest.mark.parametrize("escape", [r"\ud800", r"\udfff", r"\ud800x", r"\ud800\ud800"])
def test_a_lone_surrogate_is_refused(escape: str) -> None:
    """It could be neither hashed, stored nor sent."""
    for field in ("name", "event", "instance"):
        text = json.dumps({**JOIN, field: "@"}).replace("@", escape)
        refusal(text)
    refusal(json.dumps({**RESUME, "token": "@"}).replace("@", escape))


def test_a_pair_of_surrogates_is_one_character() -> None:
    """As JSON has it."""
    text = json.dumps({**JOIN, "name": "@"}).replace("@", r"\ud83d\ude00")
    assert codec.decode_client(text) == Join(event="e", name="😀", instance="i")


@pytest.mark.parametrize("depth", [100, 5_000, 200_000])
@pytest.mark.parametrize(
    "start", ['{"type":"join","event":', '{"more":', '{"type":"create_event","plan":{"questions":']
)
@pytest.mark.parametrize("bracket", ["[", '{"a":'])
def test_depth_is_refused_without_a_crash(depth: int, start: str, bracket: str) -> None:
    """Wherever it is nested."""
    refusal(start + bracket * depth)


# what a host creates --------------------------------------------------------------------------------------------------


def test_as_many_questions_as_there_may_be() -> None:
    """500, and not one more."""
    many = [{**QUESTION, "id": f"q{i}"} for i in range(MAX_QUESTIONS + 1)]
    message = codec.decode_client(json.dumps(create(*many[:-1])))
    assert isinstance(message, CreateEvent)
    assert len(message.plan.questions) == MAX_QUESTIONS
    assert refusal(create(*many)).field == "plan.questions"
    assert refusal({"type": "create_event", "plan": {"questions": []}}).field == "plan.questions"


@pytest.mark.parametrize(
    "change, rule",
    [
        ({"choices": ["1", "1"]}, "two choices are equal"),
        ({"correct": 2}, "correct is 2, but the choices are counted from 0 to 1"),
        ({"correct": 10**20}, ""),
        ({"correct": -1}, ""),
        ({"choices": ["1"]}, ""),
        ({"choices": [str(i) for i in range(13)]}, ""),
        ({"choices": ["1", "x" * 501]}, ""),
        ({"text": ""}, ""),
        ({"text": "x" * 501}, ""),
        ({"id": ""}, ""),
        ({"id": "x" * 65}, ""),
        ({"time_s": 0}, ""),
        ({"time_s": 3601}, ""),
        ({"time_s": "soon"}, ""),
        ({"more": 1}, ""),
    ],
)
def test_a_bad_question_is_named_by_its_place(change: dict[str, object], rule: str) -> None:
    """Which question, and which part of it where one is at fault."""
    error = refusal(create({**QUESTION, "id": "q0"}, {**QUESTION, **change}))
    assert error.field.startswith("plan.questions[1]") or error.field == next(iter(change))
    assert rule in error.rule


@pytest.mark.parametrize(
    "plan, field",
    [
        ({"title": "x" * 201}, "plan.title"),
        ({"pace": {"lobby": -1}}, "plan.pace.lobby"),
        ({"pace": {"reveal": 3601}}, "plan.pace.reveal"),
        ({"pace": {"leaderboard": "soon"}}, "plan.pace.leaderboard"),
        ({"pace": None}, "plan.pace"),
    ],
)
def test_a_bad_plan_is_named_by_its_field(plan: dict[str, object], field: str) -> None:
    """The whole path."""
    assert refusal(create(**plan)).field == field


def test_a_question_id_that_is_used_twice_is_refused() -> None:
    """And is named in the rule."""
    error = refusal(create(QUESTION, QUESTION))
    assert (error.field, error.rule) == ("plan", "question id 'q1' is used twice")


# anything at all ------------------------------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=20,
)
FIELDS = sorted({*JOIN, *RESUME, *ANSWER, *HOST, "plan", "id", "step", "action", "generation", "protocol", "attempt"})
TYPES = ["join", "resume", "token_stored", "pong", "probe", "answer", "leave", "host", "create_event", "host_command"]


@given(
    st.sampled_from(TYPES),
    st.dictionaries(st.sampled_from(FIELDS[:-1]), JSON, max_size=6),
    st.booleans(),
)
def test_any_json_is_read_or_refused_with_the_one_error(kind: str, fields: dict[str, object], is_text: bool) -> None:
    """Right keys with any values; what is read can be said again."""
    text = json.dumps({"type": kind, **fields, "type": kind})  # noqa: F601 - wins over a drawn one
    try:
        message = codec.decode_client(text if is_text else text.encode("utf-8", "surrogatepass"))
    except RemoteProtocolError as error:
        assert error.field  # noqa: PT017 - most inputs raise, some do not
    else:
        assert codec.decode_client(codec.encode(message)) == message


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_with_the_one_error(data: bytes) -> None:
    """Noise of any kind."""
    for decode in (codec.decode_client, codec.decode_server, codec.decode_server_lenient):
        try:
            decode(data)
        except RemoteProtocolError as error:
            assert error.field  # noqa: PT017 - most inputs raise, some do not


def test_a_resume_says_no_more_than_it_must() -> None:
    """What is optional has a default, and its own bound."""
    assert codec.decode_client(json.dumps(RESUME)) == Resume(event="e", token="t")
    for dropped in ("instance", "epoch", "seq"):
        assert refusal({**RESUME, dropped: "x"}).field == dropped
    assert refusal({**RESUME, "attempt": 2**53}).field == "attempt"
