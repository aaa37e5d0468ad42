"""Question files: a file becomes a plan, or one line with the error."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.client.question_file import AUTOMATIC, MAX_PLAN_BYTES, parse_plan, read_plan
from resilience.errors import UsageError
from resilience.quiz.plan import MANUAL_PACE, Pace, QuizPlan
from resilience.quiz.questions import Question

ONE = '[[questions]]\ntext = "a?"\nchoices = ["x", "y"]\nanswer = "y"\n'


def test_a_complete_file_is_read() -> None:
    """Ids are given in order, the answer is found by its text."""
    text = f'title = "Letters"\n[pace]\nlobby = 3\nreveal = 2.5\nleaderboard = 0\n{ONE}time = 7\n{ONE}'
    assert parse_plan(text, "letters.toml") == QuizPlan(
        (Question("q1", "a?", ("x", "y"), 1, 7.0), Question("q2", "a?", ("x", "y"), 1, 20.0)),
        "Letters",
        Pace(3.0, 2.5, 0.0),
    )


def test_a_minimal_file_has_manual_pace_and_default_times() -> None:
    assert parse_plan(ONE, "f.toml") == QuizPlan((Question("q1", "a?", ("x", "y"), 1, 20.0),), "", MANUAL_PACE)


def test_an_automatic_quiz_gets_default_pace_where_it_has_none() -> None:
    assert parse_plan(ONE, "f.toml", automatic=True).pace == AUTOMATIC
    assert parse_plan(f"[pace]\nreveal = 1\n{ONE}", "f.toml", automatic=True).pace == Pace(10.0, 1.0, 5.0)


def test_json_is_read_by_the_name_of_the_file() -> None:
    text = '{"questions": [{"text": "a?", "choices": ["x", "y"], "answer": "y"}]}'
    assert parse_plan(text, "F.JSON") == parse_plan(ONE, "f.toml")


def test_the_examples_are_question_files(root: Path) -> None:
    """The files that users copy."""
    files = sorted(root.joinpath("docs", "questions").iterdir())
    assert {file.suffix for file in files} == {".toml", ".json"}
    for file in files:
        assert len(read_plan(file).questions) >= 2


@pytest.mark.parametrize(
    "text, told",
    [
        ("", "questions: object missing required field `questions`"),
        ("questions = []", "questions: expected `array` of length >= 1"),
        ("questions = 3", "questions: expected `array`, got `int`"),
        ("pace = 3\n" + ONE, "pace: expected `object`, got `int`"),
        ('titel = "x"\n' + ONE, "titel: unknown key; did you mean title?"),
        ("zzz = 1\n" + ONE, "zzz: unknown key; the keys are: questions, title, pace"),
        ("[pace]\nloby = 3\n" + ONE, "pace.loby: unknown key; did you mean lobby?"),
        ("[pace]\nlobby = -1\n" + ONE, "pace.lobby: expected `float` >= 0.0"),
        (ONE + 'anser = "x"', "questions[0].anser: unknown key; did you mean answer?"),
        (ONE + ONE.replace('"y"\n', '"z"\n'), "questions[1].answer: 'z' is not one of the choices: 'x', 'y'"),
        (ONE.replace('"x"', '"y"'), "questions[0].choices: two choices are equal"),
        (ONE.replace('"x", ', ""), "questions[0].choices: expected `array` of length >= 2"),
        (ONE.replace('"x"', "1"), "questions[0].choices[0]: expected `str`, got `int`"),
        (ONE.replace('"a?"', '""'), "questions[0].text: expected `str` of length >= 1"),
        (ONE.replace('text = "a?"\n', ""), "questions[0].text: object missing required field `text`"),
        (ONE + "time = 0", "questions[0].time: expected `float` > 0.0"),
        (ONE + "time = nan", "questions[0].time: expected `float` > 0.0"),
        (ONE + 'time = "long"', "questions[0].time: expected `float`, got `str`"),
        ("a", "not TOML: "),
    ],
)
def test_an_error_names_file_key_and_rule_in_one_line(text: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_plan(text, "f.toml")
    assert str(caught.value).startswith(f"f.toml: {told}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text, told", [("", "not JSON: "), ("[]", "must be an object"), ("[" * 100_000, "not JSON")])
def test_errors_in_json(text: str, told: str) -> None:
    with pytest.raises(UsageError, match=rf"^f\.json: {told}"):
        parse_plan(text, "f.json")


def test_a_plan_too_large_for_a_server_is_rejected() -> None:
    long = ONE.replace("a?", "\N{SNOWMAN}" * 490).replace('"x"', ", ".join(f'"{i}{"e" * 490}"' for i in range(10)))
    with pytest.raises(
        UsageError, match=f"questions: [0-9]+ bytes in total; a server accepts at most {MAX_PLAN_BYTES}"
    ):
        parse_plan(long * 300, "f.toml")


@pytest.mark.parametrize(
    "name, told", [("nowhere.toml", "no such file"), (".", "cannot be read"), ("x\0", "cannot be")]
)
def test_files_that_cannot_be_read(name: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=told):
        read_plan(tmp_path / name)


def test_a_binary_file(tmp_path: Path) -> None:
    (tmp_path / "f.toml").write_bytes(b"\xff\xd8")
    with pytest.raises(UsageError, match="cannot be read"):
        read_plan(tmp_path / "f.toml")


KEYS = st.sampled_from(("title", "pace", "questions", "text", "choices", "answer", "time", "lobby"))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
TREES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.text(max_size=3), inner, max_size=4)
)


@given(TREES)
def test_any_tree_is_a_plan_or_a_one_line_error(tree: object) -> None:
    complaint = "f.json: "
    try:
        parse_plan(msgspec.json.encode(tree).decode(), "f.json")
    except UsageError as error:
        complaint = str(error)
    assert complaint.startswith("f.json: ")
    assert "\n" not in complaint
