"""Reading msgspec's errors: the guard on a format that msgspec does not promise."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec
import pytest

from resilience.validation import RULES_IN_WORDS, VISIBLE, Violation, one_line, violation_of


class Part(msgspec.Struct, forbid_unknown_fields=True):
    at: Annotated[int, msgspec.Meta(ge=0)]


class Whole(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    parts: list[Part] = []
    tags: list[str] = []
    by_name: dict[str, Part] = {}


CASES: dict[str, tuple[object, Violation]] = {
    "wrong type as a whole": ([], Violation("", "", "Expected `object`, got `array`")),
    "wrong type": ({"name": 1}, Violation("name", "", "Expected `str`, got `int`")),
    "missing": ({}, Violation("", "name", "Object missing required field `name`")),
    "unknown": ({"name": "x", "nam": 1}, Violation("", "nam", "Object contains unknown field `nam`")),
    "in a list": ({"name": "x", "parts": [{"at": 1}, {"at": -1}]}, Violation("parts[1].at", "", "Expected `int` >= 0")),
    "missing in a list": (
        {"name": "x", "parts": [{}]},
        Violation("parts[0]", "at", "Object missing required field `at`"),
    ),
    "item of a list": ({"name": "x", "tags": ["a", 2]}, Violation("tags[1]", "", "Expected `str`, got `int`")),
    "in a mapping": (
        {"name": "x", "by_name": {"p": {"at": "1"}}},
        Violation("by_name[...].at", "", "Expected `int`, got `str`"),
    ),
    "value of a mapping": (
        {"name": "x", "by_name": {"p": 1}},
        Violation("by_name", "", "Expected `object`, got `int`"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_an_error_of_msgspec_says_where_and_why(case: str) -> None:
    value, violation = CASES[case]
    with pytest.raises(msgspec.ValidationError) as decoded:
        msgspec.json.decode(msgspec.json.encode(value), type=Whole)
    with pytest.raises(msgspec.ValidationError) as converted:
        msgspec.convert(value, Whole)
    assert violation_of(decoded.value) == violation_of(converted.value) == violation


def test_the_key_names_the_place_and_the_field() -> None:
    assert Violation("parts[0]", "at", "rule").key() == "parts[0].at"
    assert Violation("", "at", "rule").key("server") == "server.at"
    assert (Violation("", "", "rule").key(), Violation("", "", "rule").key("server")) == ("", "server")


def test_a_clause_begins_in_lower_case() -> None:
    assert (Violation("", "", "Expected `int`").clause, Violation("", "", "").clause) == ("expected `int`", "")


def test_an_error_without_a_place_is_a_rule() -> None:
    assert violation_of(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad")).path == ""
    assert violation_of(msgspec.DecodeError("Input data was truncated")) == Violation(
        "", "", "Input data was truncated"
    )


def test_line_breaks_are_shown() -> None:
    assert one_line("a\nb\r") == "a\\nb\\r"


@pytest.mark.parametrize(
    "text",
    [
        "Ada",
        "Ada Lovelace",
        "Łukasz 🙂",
        "👩\u200d👩\u200d👧",
        "\u0645\u06cc\u200c\u062e",
        "山田",
        " padded ",
        "-",
        "e\u0301",
    ],
)
def test_a_text_that_shows_something_is_visible(text: str) -> None:
    assert re.search(VISIBLE, text)


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "  \u3000", "\u200b\u200d", "\ufeff", "\u2060", "\u00ad", "\u3164", "\u2800", "\U000e0041"),
        *("a\nb", "a\tb", "a\x7f", "a\u0085", "a\u2028b", "\u202eabc", "abc\u2066", "a\ud800", "\u200e\u202d"),
    ],
)
def test_a_text_that_shows_nothing_or_misleads_is_not(text: str) -> None:
    """Only spaces and what has no glyph; line breaks, changes of direction, halves of characters."""
    assert not re.search(VISIBLE, text)


@pytest.mark.parametrize("pattern", RULES_IN_WORDS)
def test_a_pattern_is_described_in_words(pattern: str) -> None:
    """An error shows no regular expression, at any depth of the value."""
    text = Annotated[str, msgspec.Meta(pattern=pattern)]
    with pytest.raises(msgspec.ValidationError) as broken:
        msgspec.convert({"names": ["a", "\n"]}, dict[str, list[text]])
    assert violation_of(broken.value).rule == f"Expected `str` with {RULES_IN_WORDS[pattern]}"


def test_text_that_is_not_utf_8_is_described_in_words() -> None:
    with pytest.raises(UnicodeDecodeError) as broken:
        b"\xff".decode()
    assert violation_of(broken.value) == Violation("", "", "Expected text in UTF-8")
