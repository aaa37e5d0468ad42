"""Question files in TOML or JSON, read as quiz plans. Reads the disk, changes nothing.

Every error is one line that names the file, the key (``questions[2].answer``, counted from 0) and the rule.
"""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec

from resilience.errors import UsageError
from resilience.quiz.plan import MAX_QUESTIONS, Pace, QuizPlan
from resilience.quiz.questions import Line, Question
from resilience.text_files import read_named
from resilience.units import Seconds
from resilience.validation import one_line, violation_of

AUTOMATIC = Pace(lobby=10.0, reveal=5.0, leaderboard=5.0)
"""The automatic pace of a quiz whose file has none."""

MAX_PLAN_BYTES = 1_000_000
"""The largest plan that a server accepts from a host."""


class _Question(msgspec.Struct, frozen=True):
    text: Line
    choices: Annotated[tuple[Line, ...], msgspec.Meta(min_length=2, max_length=12)]
    answer: str
    time: Annotated[Seconds, msgspec.Meta(gt=0, le=3600)] = 20.0


class _File(msgspec.Struct, frozen=True):
    questions: Annotated[tuple[_Question, ...], msgspec.Meta(min_length=1, max_length=MAX_QUESTIONS)]
    title: Annotated[str, msgspec.Meta(max_length=200)] = ""
    pace: Pace = Pace()


def read_plan(path: Path, *, automatic: bool = False) -> QuizPlan:
    """The plan in this file; ``automatic`` gives it the default pace where it has none.

    Raises :class:`~resilience.errors.UsageError` for a file that is not a valid question file.
    """
    text = read_named(path, lambda reason: UsageError(f"{path}: {reason}"))
    return parse_plan(text, str(path), automatic=automatic)


def parse_plan(text: str, file: str, *, automatic: bool = False) -> QuizPlan:
    """The plan in ``text``: JSON if ``file`` ends so, else TOML; otherwise ``file`` is used in errors only."""
    tree = _tree(text, file)
    _check_keys(tree, file)
    try:
        read = msgspec.convert(tree, _File)
    except msgspec.ValidationError as error:
        raise _error_of(file, error) from error
    pace = _automatic(read.pace) if automatic else read.pace
    plan = QuizPlan(tuple(_question(i, question, file) for i, question in enumerate(read.questions)), read.title, pace)
    size = len(msgspec.json.encode(plan))
    if size > MAX_PLAN_BYTES:
        raise UsageError(f"{file}: questions: {size} bytes in total; a server accepts at most {MAX_PLAN_BYTES}")
    return plan


def _tree(text: str, file: str) -> dict[str, Any]:
    is_json = file.lower().endswith(".json")
    try:
        tree = msgspec.json.decode(text) if is_json else tomllib.loads(text)
    except (msgspec.DecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{file}: not {'JSON' if is_json else 'TOML'}: {one_line(str(error))}") from error
    if not isinstance(tree, dict):
        raise UsageError(f"{file}: must be an object with title, pace and questions")
    return tree


def _check_keys(tree: dict[str, Any], file: str) -> None:
    _check_table(tree, _File, "", file)
    _check_table(tree.get("pace"), Pace, "pace.", file)
    questions = tree.get("questions")
    for i, question in enumerate(questions if isinstance(questions, list) else ()):
        _check_table(question, _Question, f"questions[{i}].", file)


def _check_table(table: object, kind: type[msgspec.Struct], where: str, file: str) -> None:
    known = [field.name for field in msgspec.structs.fields(kind)]
    for key in table if isinstance(table, dict) else ():
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the keys are: {', '.join(known)}"
            raise UsageError(f"{file}: {one_line(where + str(key))}: unknown key; {hint}")


def _question(index: int, read: _Question, file: str) -> Question:
    where = f"{file}: questions[{index}]"
    if read.answer not in read.choices:
        listed = ", ".join(repr(choice) for choice in read.choices)
        raise UsageError(f"{where}.answer: {read.answer!r} is not one of the choices: {listed}")
    try:
        return Question(f"q{index + 1}", read.text, read.choices, read.choices.index(read.answer), read.time)
    except ValueError as error:
        raise UsageError(f"{where}.choices: {error}") from error


def _automatic(pace: Pace) -> Pace:
    own = {key: value for key, value in msgspec.structs.asdict(pace).items() if value is not None}
    return msgspec.structs.replace(AUTOMATIC, **own)


def _error_of(file: str, error: msgspec.ValidationError) -> UsageError:
    violation = violation_of(error)
    return UsageError(f"{file}: {violation.key()}: {violation.clause}")
