"""Nothing that a reader may meet goes unexplained, and nothing is explained twice."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from typing import Annotated

import msgspec
import pytest
from docgen import configuration, protocol, shapes, sources
from docgen.hidden_messages import UNSAID

from resilience.policy.close_codes import CloseCode, RetryClass
from resilience.protocol import messages
from resilience.protocol.states import ClientState, ConnectionState
from resilience.quiz.phases import Phase

STRUCTS: list[type] = [*protocol.all_messages(), *protocol.structs(), *configuration.CONFIGS]
ENUMS: list[type] = [*protocol.enums(), CloseCode, RetryClass, ClientState, ConnectionState, Phase]
EXPLAINED = list(dict.fromkeys([*STRUCTS, *ENUMS]))


def names(owner: type) -> list[str]:
    """The fields of a struct, the members of an enumeration."""
    return [m.name for m in owner] if issubclass(owner, Enum) else [f.name for f in shapes.fields_of(owner)]


def messages_in_source() -> Iterator[type]:
    """Every message that the module defines, in a union or not."""
    for _, kind in inspect.getmembers(messages, inspect.isclass):
        if issubclass(kind, messages.Message) and kind is not messages.Message:
            yield kind


@pytest.mark.parametrize("owner", EXPLAINED, ids=lambda owner: owner.__name__)
def test_everything_has_a_meaning(owner: type) -> None:
    """In its own source, as a docstring; or for now in ``docgen/hidden_messages.py``."""
    assert sources.summary(owner), f"{owner.__name__} has no docstring"
    lacking = [name for name in names(owner) if not sources.meaning(owner, name)]
    assert not lacking, f"{owner.__name__}: no meaning for {', '.join(lacking)}; write a docstring below each"


def test_every_message_is_on_the_page() -> None:
    assert set(protocol.all_messages()) == set(messages_in_source())
    assert len(protocol.all_messages()) == len(set(protocol.all_messages()))


def test_what_the_source_says_is_not_said_for_it() -> None:
    """An entry of ``docgen/hidden_messages.py`` goes when its source has taken it over, or the thing itself is gone."""
    wanted = {f"{owner.__name__}.{name}": (owner, name) for owner in EXPLAINED for name in names(owner)}
    assert set(UNSAID) <= set(wanted), f"no such thing: {sorted(set(UNSAID) - set(wanted))}"
    said = [key for key in UNSAID if sources.said(*wanted[key])]
    assert not said, f"the source itself says it, docgen/hidden_messages.py need not: {said}"


def test_meanings_are_sentences() -> None:
    texts = [sources.meaning(owner, name) or "" for owner in EXPLAINED for name in names(owner)]
    assert [text for text in texts if not text.endswith((".", "?")) or text[0].islower()] == []


class Sample(msgspec.Struct):
    """A struct as the source might have it."""

    said: int
    """Said
    here."""
    silent: Annotated[int, msgspec.Meta(ge=0)] = 0
    also: str = ""
    """Said here too."""


def test_a_docstring_belongs_to_what_stands_above_it() -> None:
    assert sources.attribute_docs(Sample) == {"said": "Said here.", "also": "Said here too."}


def test_a_name_that_means_the_same_everywhere_is_explained_once() -> None:
    """By the list in the module's docstring, unless a field has a docstring of its own."""
    assert sources.meaning(messages.QuizFinished, "seq") == sources.meaning(messages.PresenceChanged, "seq")
    assert sources.meaning(messages.Resume, "seq") != sources.meaning(messages.PresenceChanged, "seq")


def test_tables_have_no_empty_columns_and_no_broken_cells() -> None:
    lines = sources.table(["a", "b", "c"], [["1", "", "x|y"], ["2", "", ""]]).splitlines()
    assert lines == ["| a | c |", "| --- | --- |", "| 1 | x\\|y |", "| 2 |  |"]


def test_bounds_are_words() -> None:
    said = {f.name: shapes.bounds(f.type) for f in shapes.fields_of(messages.Answer)}
    word = "1 to 64 characters, no control characters"
    assert said == {"question": word, "choice": "at least -2^31, below 2^31", "key": word}
    (generation,) = shapes.fields_of(messages.TokenStored)
    assert shapes.bounds(generation.type) == "at least 0, at most 2^53 - 1"
