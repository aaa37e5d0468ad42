"""The reference parts of ``docs/protocol.md``: messages, their parts, their words, close codes."""

from __future__ import annotations

import typing
from collections import Counter
from enum import Enum
from http import HTTPStatus

from docgen.message_sections import message_section, tag_of, wire_text
from docgen.samples import sample_json
from docgen.sources import meaning, summary, table
from resilience.policy.close_codes import CloseCode, RetryClass, retry_class, retry_class_of_status
from resilience.protocol import messages as m
from resilience.protocol.server.tokens import ResumeRejection
from resilience.protocol.states import ConnectionState
from resilience.quiz.phases import Phase
from resilience.quiz.plan import Pace, QuizPlan
from resilience.quiz.questions import Question
from resilience.quiz.verdicts import AnswerVerdict

HOST: tuple[type, ...] = typing.get_args(m.HostMessage)
CLIENT: tuple[type, ...] = tuple(kind for kind in typing.get_args(m.ClientMessage) if kind not in HOST)
SERVER: tuple[type, ...] = typing.get_args(m.ServerMessage)
MESSAGES: tuple[type, ...] = (*CLIENT, *HOST, *SERVER)
"""Every message, each once."""

STRUCTS: tuple[type, ...] = (
    m.Credentials, m.Timing, m.Snapshot, m.Roster, m.Player, m.Standing, m.OpenQuestion, QuizPlan, Question, Pace,
)  # fmt: skip
"""The structs that messages hold."""

ENUMS: tuple[type[Enum], ...] = (AnswerVerdict, ResumeRejection, m.HostAction, m.ErrorCode)
"""The words that messages hold, but for the states that ``docs/resume.md`` draws."""


LINKS = {
    **{kind.__name__: f"[{tag_of(kind)}](#{tag_of(kind)})" for kind in MESSAGES},
    **{part.__name__: f"[{part.__name__}](#{part.__name__.lower()})" for part in STRUCTS},
    **{kind.__name__: f"[{kind.__name__}](#words)" for kind in ENUMS},
    ConnectionState.__name__: "[ConnectionState](resume.md#both-ends-as-machines)",
    Phase.__name__: "[Phase](resume.md#the-phases)",
}
"""By class name: the link to its description."""


def messages(kinds: tuple[type, ...]) -> str:
    """A section for each message, then an example of each, one on a line."""
    examples = "\n".join(sample_json(kind) for kind in kinds)
    return "\n\n".join([*(_section(kind) for kind in kinds), f"One example of each:\n\n```json\n{examples}\n```"])


def parts() -> str:
    """A section for each struct that messages hold."""
    return "\n\n".join(_section(kind) for kind in STRUCTS)


def words() -> str:
    """Every value of every enumeration."""
    rows = [
        [f"{kind.__name__}: {_text(summary(kind))}" * (i == 0), f"`{member.value}`", _said(kind, member.name)]
        for kind in ENUMS
        for i, member in enumerate(kind)
    ]
    return table(["enumeration", "value", "meaning"], rows)


def close_codes() -> str:
    """Every close code, its class and meaning, in the order of their numbers."""
    rows = [
        [str(code.value), f"`{code.name.lower()}`", f"`{retry_class(code).value}`", _said(CloseCode, code.name)]
        for code in sorted(CloseCode)
    ]
    return table(["code", "name", "class", "meaning"], rows)


def retry_classes() -> str:
    """What a client does after each class of ending."""
    return table(["class", "what a client does"], [[f"`{c.value}`", _said(RetryClass, c.name)] for c in RetryClass])


def handshake_statuses() -> str:
    """The class of every HTTP status that ends a handshake: each exception by its number, the rest by hundreds."""
    rows = []
    for hundred in (200, 300, 400, 500):
        classes = {status: retry_class_of_status(status) for status in range(hundred, hundred + 100)}
        usual = Counter(classes.values()).most_common(1)[0][0]
        exceptions = {status: what for status, what in classes.items() if what is not usual}
        rows += [[f"{status} {HTTPStatus(status).phrase}", f"`{what.value}`"] for status, what in exceptions.items()]
        rows.append([f"{'any other ' if exceptions else ''}{hundred // 100}xx", f"`{usual.value}`"])
    return table(["status", "class"], rows)


def _section(owner: type) -> str:
    return message_section(owner, tag_of(owner) if owner in MESSAGES else owner.__name__, LINKS)


def _said(owner: type, name: str) -> str:
    return _text(meaning(owner, name) or "")


def _text(docstring: str) -> str:
    """As Markdown; on the wire ``None`` is called ``null``."""
    return wire_text(docstring, LINKS)
