"""Nothing that a reader may meet goes unexplained, and nothing is explained twice."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from enum import Enum
from typing import Annotated

import msgspec
import pytest
from docgen import configuration, protocol, schema, sources

from resilience.policy.close_codes import CloseCode, RetryClass
from resilience.protocol import messages
from resilience.protocol.states import ClientState, ConnectionState
from resilience.quiz.phases import Phase
from resilience.quiz.plan import Pace
from resilience.quiz.questions import Question

STRUCTS: list[type] = [*protocol.MESSAGES, *protocol.STRUCTS, *configuration.CONFIGS]
ENUMS: list[type] = [*protocol.ENUMS, CloseCode, RetryClass, ClientState, ConnectionState, Phase]
EXPLAINED = list(dict.fromkeys([*STRUCTS, *ENUMS]))


def names(owner: type) -> list[str]:
    """The fields of a struct, the members of an enumeration."""
    return [m.name for m in owner] if issubclass(owner, Enum) else list(schema.properties(owner))


def messages_in_source() -> Iterator[type]:
    """Every message that the module defines, in a union or not."""
    for _, kind in inspect.getmembers(messages, inspect.isclass):
        if issubclass(kind, messages.Message) and kind is not messages.Message:
            yield kind


@pytest.mark.parametrize("owner", EXPLAINED, ids=lambda owner: owner.__name__)
def test_everything_has_a_meaning(owner: type) -> None:
    assert sources.summary(owner), f"{owner.__name__} has no docstring"
    lacking = [name for name in names(owner) if not sources.meaning(owner, name)]
    assert not lacking, f"{owner.__name__}: no meaning for {', '.join(lacking)}; write a docstring below each"


def test_every_message_is_on_the_page() -> None:
    assert set(protocol.MESSAGES) == set(messages_in_source())
    assert len(protocol.MESSAGES) == len(set(protocol.MESSAGES))


def test_every_part_that_a_message_holds_or_names_has_a_description() -> None:
    """Held ones are in the schema; a plain string or a pre-encoded part names its class in the docstring."""
    owners = [*protocol.MESSAGES, *protocol.STRUCTS]
    texts = " ".join(sources.meaning(owner, name) or "" for owner in owners for name in names(owner))
    named = {path.rpartition(".")[2] for path in re.findall(r":class:`~?([\w.]+)`", texts)}
    assert set(schema.components(*protocol.MESSAGES)) | named == set(protocol.LINKS)


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
    assert sources.meaning(messages.OpenQuestion, "id") != sources.meaning(messages.Ping, "id")


def test_tables_have_no_empty_columns_and_no_broken_cells() -> None:
    lines = sources.table(["a", "b", "c"], [["1", "", "x|y"], ["2", "", ""]]).splitlines()
    assert lines == ["| a | c |", "| --- | --- |", "| 1 | x\\|y |", "| 2 |  |"]


def test_bounds_are_words() -> None:
    said = {name: schema.bounds(field) for name, field in schema.properties(messages.Answer).items()}
    word = "1 to 64 characters, no control characters"
    assert said == {"question": word, "choice": "at least -2^31, below 2^31", "key": word}
    assert schema.bounds(schema.properties(messages.TokenStored)["generation"]) == "0 to 2^53 - 1"
    assert schema.bounds(schema.properties(Question)["choices"]) == "2 to 12 items, each 1 to 500 characters"
    assert schema.bounds(schema.properties(Question)["time_s"]) == "above 0, at most 3600"
    assert schema.bounds(schema.properties(Pace)["reveal"]) == "0 to 3600"


def test_types_are_the_words_of_json_or_links() -> None:
    fields = schema.properties(messages.Snapshot)
    assert schema.type_name(fields["seq"], {}) == "integer"
    assert schema.type_name(fields["question"], protocol.LINKS) == "[OpenQuestion](#openquestion) or null"
    assert schema.type_name(schema.properties(messages.Roster)["players"], {}) == "list of `Player`"
    assert schema.type_name(schema.properties(messages.Join)["accepts_deflate"], {}) == "true or false"
