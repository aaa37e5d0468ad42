"""Exceptions of the network as causes and words."""

from __future__ import annotations

import errno
import socket
import ssl
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.datastructures import Headers
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI
from websockets.http11 import Response

from resilience.client.dial_failures import DialFailure, failure_of, retry_after_of
from resilience.client.failure_words import describe_dismissal, describe_failure
from resilience.policy.close_codes import CloseCode, RetryClass, retry_class
from resilience.protocol.client.dismissal import Dismissal

SENT = "Tue, 24 Nov 2026 10:00:00 GMT"
NOW = datetime(2026, 11, 24, 10, 0, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "headers, expected",
    [
        ([("Retry-After", "3")], 3.0),
        ([("Retry-After", " 3.5 ")], 3.5),
        ([("Retry-After", "Tue, 24 Nov 2026 10:00:30 GMT"), ("Date", SENT)], 30.0),
        ([("Retry-After", "Tue, 24 Nov 2026 12:00:30 +0200"), ("Date", SENT)], 30.0),
        ([("Retry-After", "Tue, 24 Nov 2026 10:00:30"), ("Date", SENT)], 30.0),
        ([("Retry-After", "Tue, 24 Nov 2026 10:00:30 -0000"), ("Date", SENT)], 30.0),
        ([("Retry-After", "Tue, 24 Nov 2026 09:00:00 GMT"), ("Date", SENT)], 0.0),
        ([("Retry-After", "Tue, 24 Nov 2026 10:00:30 GMT")], 20.0),
        ([("Retry-After", "Tue, 24 Nov 2026 10:00:30 GMT"), ("Date", "yesterday")], 20.0),
        ([("Retry-After", "Tue, 24 Nov 2020 10:00:30 GMT")], 0.0),
        ([("Retry-After", "Tue, 24 Nov 99999 10:00:30 GMT")], None),
        ([("Retry-After", "3"), ("Retry-After", "4")], None),
        ([("Retry-After", "soon")], None),
        ([("Retry-After", "-3")], None),
        ([("Retry-After", "nan")], None),
        ([], None),
    ],
)
def test_retry_after_by_hand(headers: list[tuple[str, str]], expected: float | None) -> None:
    """Seconds, or a date: from the response's own clock, else from ours."""
    assert retry_after_of(Headers(headers), lambda: NOW) == expected


@given(*[st.text(st.characters(min_codepoint=32, max_codepoint=126))] * 2)
def test_no_header_of_a_stranger_raises(retry_after: str, date: str) -> None:
    found = retry_after_of(Headers([("Retry-After", retry_after), ("Date", date)]), lambda: NOW)
    assert found is None or found >= 0


VERIFICATION = ssl.SSLCertVerificationError(1, "certificate verify failed")
VERIFICATION.verify_message = "self-signed certificate"
RESPONSE = Response(404, "Not Found", Headers([("Retry-After", "7")]))


@pytest.mark.parametrize(
    "error, failure, words",
    [
        (ConnectionRefusedError(), DialFailure("refused"), "refused"),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), None, "the name of the server is unknown"),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure"), None, "could not be looked up: Temporary failure"),
        (VERIFICATION, None, "the certificate of the server is not valid: self-signed certificate"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), None, "no TLS connection is possible"),
        (OSError(errno.EHOSTUNREACH, "No route to host"), None, "there is no route to the server: No route to host"),
        (OSError(errno.EMFILE, "Too many open files"), None, "failed (OSError): [Errno 24] Too many open files"),
        (TimeoutError(), DialFailure("timeout"), "did not answer in time"),
        (InvalidHandshake("SSH"), DialFailure("closed"), "closed the connection"),
        (InvalidURI("https://x", "wrong"), None, "failed (InvalidURI)"),
        (ValueError("cannot follow redirect"), None, "failed (ValueError): cannot follow redirect"),
        (
            InvalidStatus(RESPONSE),
            DialFailure("status_404", None, 404, 7.0),
            "HTTP status 404 Not Found; check the path",
        ),
    ],
)
def test_a_failed_dial_has_a_cause_and_words(error: Exception, failure: DialFailure | None, words: str) -> None:
    found = failure_of(error)
    assert failure is None or found == failure
    assert words in describe_failure(found.cause, found.detail)


@pytest.mark.parametrize(
    "cause, words",
    [
        ("open_timeout", "did not answer in time"),
        ("close_1013", "closed the connection (code 1013)"),
        ("malformed: message: no JSON", "no message of a quiz"),
        ("status_520", "HTTP status 520"),
        ("something new", "failed (something new)"),
    ],
)
def test_the_causes_of_machine_and_driver_have_words(cause: str, words: str) -> None:
    assert words in describe_failure(cause)


@pytest.mark.parametrize("code", [code for code in CloseCode if retry_class(code) is RetryClass.NEVER])
def test_every_dismissal_has_words_and_shows_the_servers_reason(code: CloseCode) -> None:
    assert describe_dismissal(Dismissal(code=code, reason="because")).endswith(": because")
    assert not describe_dismissal(Dismissal(code=code)).endswith(": ")


def test_dismissals_without_a_close_code_have_words() -> None:
    assert describe_dismissal(Dismissal(status=403)).startswith("the server answered with HTTP status 403 Forbidden; ")
    assert describe_dismissal(Dismissal(reason="name: too long")) == "the server rejected the request: name: too long"
    assert "(close code 4299)" in describe_dismissal(Dismissal(code=4299))


@pytest.mark.parametrize("dismissal", [Dismissal(code=4202, reason="x"), Dismissal(status=403), Dismissal(reason="y")])
def test_a_dismissal_is_read_from_its_log_event(dismissal: Dismissal) -> None:
    assert Dismissal.from_log(dismissal.cause, dismissal.reason or None) == dismissal
