"""Both ends under test as a peer sees them: what to ask of each, what it answers, and its longest message. Pure."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple, Protocol


class Reply(NamedTuple):
    """What comes back.

    ``answer`` to the question of this number, ``verdict`` with the text that it repeats, ``pong`` with its payload, or
    ``refused``: the application did not accept a message.
    """

    kind: str
    content: bytes | int = b""


REFUSED = Reply("refused")


class End(Protocol):
    """A server or a client of ours."""

    is_server: bool
    max_message_bytes: int
    """The longest message that it reads."""

    def ask(self, number: int, size: int = 0) -> bytes:
        """A message that it answers, at least ``size`` octets long."""

    def say(self, text: bytes) -> bytes:
        """A message with these octets in a text that it reads."""

    def replies_to(self, text: bytes) -> Sequence[Reply]:
        """What must come back for :meth:`say` with a text in UTF-8."""

    def reply(self, message: bytes) -> Reply | None:
        """What a message of this end means; ``None`` for one that no case asked for."""


class ServerEnd:
    """The server: it answers probes, and repeats the key of an answer in its verdict."""

    is_server = True
    max_message_bytes = 16_384

    def ask(self, number: int, size: int = 0) -> bytes:
        """A probe."""
        return (b'{"type":"probe","id":%d}' % number).ljust(size)

    def say(self, text: bytes) -> bytes:
        """An answer to a question that is not open, with the text as its key."""
        return b'{"type":"answer","question":"q1","choice":0,"key":"%s"}' % text

    def replies_to(self, text: bytes) -> Sequence[Reply]:
        """A verdict; an error if the text has a control character, which no key may have."""
        return [REFUSED if _has_control_characters(text) else Reply("verdict", text)]

    def reply(self, message: bytes) -> Reply | None:
        """Replies to probes, verdicts, errors."""
        fields = json.loads(message)
        match fields["type"]:
            case "probe_reply":
                return Reply("answer", fields["id"])
            case "answer_result":
                return Reply("verdict", fields["key"].encode())
            case "error":
                return REFUSED
        return None


class ClientEnd:
    """The client: it answers pings, and drops a connection on which a message cannot be read."""

    is_server = False
    max_message_bytes = 4_194_304

    def ask(self, number: int, size: int = 0) -> bytes:
        """A ping of the application."""
        return (b'{"type":"ping","id":%d,"spread_ms":1000,"step_ms":500,"cap_ms":5000}' % number).ljust(size)

    def say(self, text: bytes) -> bytes:
        """A verdict on an answer that it never gave, with the text as its key."""
        return b'{"type":"answer_result","question":"q1","key":"%s","verdict":"accepted"}' % text

    def replies_to(self, text: bytes) -> Sequence[Reply]:
        """Nothing; what is no JSON costs the connection. JSON has no unescaped control characters."""
        return [] if min(text) >= 0x20 else [REFUSED]

    def reply(self, message: bytes) -> Reply | None:
        """Pongs of the application."""
        fields = json.loads(message)
        return Reply("answer", fields["id"]) if fields["type"] == "pong" else None


def _has_control_characters(text: bytes) -> bool:
    return any(unicodedata.category(character) == "Cc" for character in text.decode())
