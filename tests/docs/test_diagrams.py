"""The diagrams show what the tables and the machines have, and nothing else."""

from __future__ import annotations

import re

import pytest
from docgen import diagram_scenarios, diagrams, protocol
from docgen.message_sections import tag_of

from resilience.policy.close_codes import CloseCode
from resilience.protocol.states import CLIENT_TRANSITIONS, SERVER_CONNECTION_TRANSITIONS, SESSION_TRANSITIONS
from resilience.quiz.phases import NEXT

from .markdown import blocks

SPOKEN = re.compile(r"(\w+)(?:->>|--x)(\w+): (\w+)")
TRANSPORT = {"opens", "close", "the"}
ROWS = {"session", "answer", "progress", "event"}


def mermaid(pages: dict[str, str], kind: str) -> list[list[str]]:
    """The lines, without the first, of every diagram of this kind in the documentation."""
    texts = (block.text for text in pages.values() for block in blocks(text, "mermaid"))
    return [[line.strip() for line in text.splitlines()[1:]] for text in texts if text.startswith(kind)]


def test_state_diagrams_use_only_states_of_the_tables(pages: dict[str, str]) -> None:
    drawn = mermaid(pages, "stateDiagram")
    assert len(drawn) == 4
    for line in (line for lines in drawn for line in lines):
        before, after = line.split(" --> ")
        assert {before, after} - {"[*]"} <= diagrams.states_in_tables(), line


@pytest.mark.parametrize(
    "drawn, table",
    [
        (diagrams.client_states(), CLIENT_TRANSITIONS),
        (diagrams.session_states(), SESSION_TRANSITIONS),
        (diagrams.server_connection_states(), SERVER_CONNECTION_TRANSITIONS),
        (diagrams.phases(), NEXT),
    ],
)
def test_every_move_of_a_table_is_drawn_and_no_other(drawn: str, table: dict[str, frozenset[str]]) -> None:
    moves = set(re.findall(r"^    (\w+) --> (\w+)$", drawn, re.MULTILINE))
    assert moves == {(str(before), str(after)) for before, following in table.items() for after in following}


def test_what_is_said_in_a_sequence_is_a_message(pages: dict[str, str]) -> None:
    tags = {tag_of(kind) for kind in protocol.MESSAGES}
    drawn = mermaid({name: text for name, text in pages.items() if name != "ARCHITECTURE.md"}, "sequenceDiagram")
    assert len(drawn) == 5
    for lines in drawn:
        people = {line.split()[1] for line in lines if line.startswith("participant ")}
        for who, whom, word in (arrow.groups() for line in lines if (arrow := SPOKEN.match(line))):
            assert {who, whom} <= people
            assert word in (ROWS if whom == "DB" else tags | TRANSPORT), word


def test_close_codes_in_sequences_carry_their_names(pages: dict[str, str]) -> None:
    closes = [re.search(r": close (\d+) (\w+)", line) for lines in mermaid(pages, "sequenceDiagram") for line in lines]
    shown = {(int(close[1]), close[2]) for close in closes if close}
    assert shown == {(CloseCode.SUPERSEDED.value, "superseded")}


def in_order(diagram: str, *wanted: str) -> bool:
    """Whether the diagram has these in this order."""
    rest = diagram
    for text in wanted:
        _, found, rest = rest.partition(text)
        if not found:
            return False
    return True


def test_a_welcome_waits_for_its_commit() -> None:
    assert in_order(
        diagram_scenarios.join(), "C->>S: join", "S->>DB: session", "DB-->>S: durable", "S->>C: joined", "token_stored"
    )
    assert in_order(
        diagram_scenarios.resume(), "--xS", "C->>S: resume", "durable", "S->>C: state_restored", "token_stored"
    )


def test_the_old_connection_is_closed_before_the_new_one_is_welcome() -> None:
    assert in_order(
        diagram_scenarios.fencing(), "B->>S: resume", "S->>A: close 4200", "durable", "S->>B: state_restored"
    )


def test_a_lost_acknowledgement_costs_no_second_row() -> None:
    shown = diagram_scenarios.lost_ack()
    assert shown.count("S->>DB: answer") == 1
    assert in_order(shown, "S--xC: answer_result", "C->>S: answer", "S->>C: answer_result", "verdict accepted")


def test_an_order_that_crosses_the_clock_does_nothing() -> None:
    shown = diagram_scenarios.host()
    assert shown.count("question_revealed") == 1
    assert in_order(shown, "action reveal, step 1", "question_revealed", "action reveal, verdict stale_step, step 2")


def test_no_line_holds_the_word_that_breaks_mermaid(pages: dict[str, str]) -> None:
    """``end`` closes a block at any place."""
    drawn = [line for kind in ("sequenceDiagram", "stateDiagram") for lines in mermaid(pages, kind) for line in lines]
    assert [line for line in drawn if re.search(r"\bend\b|;|#", line)] == []
