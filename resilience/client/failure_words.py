"""What the causes of failed dials, lost connections and dismissals mean, in words for a person. Prints nothing.

The words are safe for a terminal: what a server says about itself is in them without control characters.
"""

from __future__ import annotations

from http import HTTPStatus

from resilience.client.terminal_text import strip_control_characters
from resilience.errors import HarnessError, ResilienceError, UsageError
from resilience.policy.close_codes import CloseCode
from resilience.protocol.client.dismissal import Dismissal

_WORDS = {
    "refused": "the connection was refused: no server listens there",
    "closed": "the server closed the connection",
    "open_timeout": "the server did not answer in time",
    "timeout": "the server did not answer in time",
    "join_timeout": "the server accepted the connection and then did not answer in time",
    "name_unknown": "the name of the server is unknown",
    "name_lookup": "the name of the server could not be looked up",
    "certificate": "the certificate of the server is not valid",
    "tls": "no TLS connection is possible there",
    "unreachable": "there is no route to the server",
    "stale": "the network changed",
    "silent": "the server fell silent",
    "resume_rejected": "the server does not know this session",
    "stream_gap": "messages were missing",
    "slept": "the computer slept, so the time left is asked for again",
    "question_held": "the question came late, so the time left is asked for again",
}

_STATUS_HINTS = {
    HTTPStatus.OK: "that is a web page; check the path of the URL, which usually ends in /ws",
    HTTPStatus.UNAUTHORIZED: "a proxy in front of it wants a password",
    HTTPStatus.FORBIDDEN: "the server, or a proxy in front of it, rejects this client",
    HTTPStatus.NOT_FOUND: "check the path of the URL, which usually ends in /ws",
    HTTPStatus.GONE: "check the path of the URL",
}

_CODES: dict[int, str] = {
    CloseCode.NORMAL: "the server closed this event: it is over, or a new run has started",
    CloseCode.PROTOCOL_ERROR: "the server speaks another version of the protocol",
    CloseCode.INVALID_DATA: "the server received a text of this client that is not UTF-8",
    CloseCode.POLICY_VIOLATION: "the server does not allow a message of this client",
    CloseCode.TOO_BIG: "a message of this client was too long",
    CloseCode.EVENT_UNKNOWN: "the server rejected the event id",
    CloseCode.KEY_REFUSED: "the server rejected the host key",
}


_INPUT_CODES = frozenset({CloseCode.EVENT_UNKNOWN, CloseCode.KEY_REFUSED})
_INPUT_STATUSES = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


def describe_failure(cause: str, detail: str | None = None) -> str:
    """Why there is no connection, as a clause; ``cause`` and ``detail`` as in the event log."""
    family, _, number = cause.partition("_")
    if family == "status" and number.isdecimal():
        return _status(int(number))
    if family == "close" and number.isdecimal():
        return f"the server closed the connection (code {number})"
    if cause.startswith("malformed"):
        return "the server sent something that is no message of a quiz"
    return _joined(_WORDS.get(cause, f"the connection failed ({cause})"), detail)


def describe_dismissal(dismissal: Dismissal) -> str:
    """Why the server ended a client for good, as a clause, with the server's own reason if it gave one."""
    if dismissal.code is not None:
        unknown = f"the server ended this connection for good (close code {int(dismissal.code)})"
        words = _CODES.get(dismissal.code, unknown)
    elif dismissal.status is not None:
        words = _status(dismissal.status)
    else:
        words = "the server rejected the request"
    return _joined(words, dismissal.reason)


def error_of(dismissal: Dismissal) -> ResilienceError:
    """The error with which a command ends after a dismissal: the user's if other arguments would help."""
    words = describe_dismissal(dismissal)
    is_input = dismissal.code in _INPUT_CODES or dismissal.status in _INPUT_STATUSES
    is_message = dismissal.code is None and dismissal.status is None
    return UsageError(words) if is_input or is_message else HarnessError(words)


def _joined(words: str, detail: str | None) -> str:
    return strip_control_characters(f"{words}: {detail}" if detail else words)


def _status(status: int) -> str:
    try:
        known = HTTPStatus(status)
    except ValueError:
        return f"the server answered with HTTP status {status}"
    hint = _STATUS_HINTS.get(known)
    words = f"the server answered with HTTP status {status} {known.phrase}"
    return f"{words}; {hint}" if hint else words
