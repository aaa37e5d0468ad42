"""Why a dial failed: an exception of the network, of TLS or of ``websockets`` as a cause. Decides nothing about it.

The causes are words of the event log; ``failure_words`` says them to a person.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import msgspec
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from resilience.units import Seconds

_UNKNOWN_NAME = frozenset({socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)})
_NO_ROUTE = frozenset({errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.ENETDOWN})
_NUMBER = re.compile(r"\d+(\.\d+)?")


class DialFailure(msgspec.Struct, frozen=True):
    """What is known of a dial that failed.

    ``status`` and ``advice`` (seconds) are those of the HTTP response, if there was one; ``detail`` is for a person.
    """

    cause: str
    detail: str | None = None
    status: int | None = None
    advice: Seconds | None = None


def failure_of(error: Exception) -> DialFailure:
    """The failure that an exception of ``connect`` stands for."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        return DialFailure(f"status_{status}", None, status, retry_after_of(error.response.headers))
    return DialFailure(*_cause_and_detail(error))


_CAUSES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (ConnectionRefusedError, "refused"),
    ((ConnectionResetError, EOFError, ConnectionClosed, InvalidHandshake), "closed"),
    (TimeoutError, "timeout"),
)


def _cause_and_detail(error: Exception) -> tuple[str, str | None]:
    for kinds, cause in _CAUSES:
        if isinstance(error, kinds):
            return cause, None
    match error:
        case socket.gaierror():
            return ("name_unknown" if error.errno in _UNKNOWN_NAME else "name_lookup"), error.strerror
        case ssl.SSLCertVerificationError():
            return "certificate", getattr(error, "verify_message", error.strerror)
        case ssl.SSLError():
            return "tls", error.strerror
        case OSError() if error.errno in _NO_ROUTE:
            return "unreachable", error.strerror
        case _:
            return type(error).__name__, str(error) or None


def _now() -> datetime:
    return datetime.now(UTC)


def retry_after_of(headers: Headers, now: Callable[[], datetime] = _now) -> Seconds | None:
    """The ``Retry-After`` of a response (RFC 9110 section 10.2.3) in seconds; ``None`` if it has none or two.

    A date counts from the response's own ``Date``, so that a wrong clock of ours does not matter; only without one
    ``now`` counts. A date in the past is 0.
    """
    texts = [text.strip() for text in headers.get_all("Retry-After")]
    if len(texts) != 1:
        return None
    if _NUMBER.fullmatch(texts[0]):
        return float(texts[0])
    until = _date(texts[0])
    if until is None:
        return None
    sent = [date for text in headers.get_all("Date") if (date := _date(text)) is not None]
    return max((until - (sent[0] if sent else now())).total_seconds(), 0.0)


def _date(text: str) -> datetime | None:
    """An HTTP date; without a zone, as some old servers write it, it is UTC."""
    try:
        date = parsedate_to_datetime(text)
        return date.replace(tzinfo=UTC) if date.tzinfo is None else date.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
