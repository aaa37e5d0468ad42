"""Which endings may be retried: the one table of close codes and HTTP statuses, and their three classes. Pure.

4000-4099: retry by the usual policy. 4100-4199: retry at the time that the server gives. 4200-4299: never retry. The
standard codes (RFC 6455 section 7.4) are classed in the same table; an unknown code counts as a lost network and is
retried. Of the HTTP statuses that reject a handshake only the client errors (4xx) that say nothing about time are final
(RFC 9110 section 15.5): the same request would get the same response.
"""

from __future__ import annotations

import re
from enum import Enum, IntEnum
from http import HTTPStatus

from resilience.units import Seconds

_RETRY_AFTER = re.compile(r"retry_after=(\d+(?:\.\d+)?)")


class CloseCode(IntEnum):
    """Why the server ends a connection."""

    NORMAL = 1000
    """A normal end: the client leaves, or the event is over and makes room for another."""
    GOING_AWAY = 1001
    """The peer goes away, such as a page that is closed."""
    PROTOCOL_ERROR = 1002
    """The frames or the protocol version are wrong."""
    INVALID_DATA = 1007
    """A text is not UTF-8."""
    POLICY_VIOLATION = 1008
    """The message is not allowed."""
    TOO_BIG = 1009
    """The message is longer than ``max_message_bytes``."""
    INTERNAL_ERROR = 1011
    """The server failed unexpectedly."""
    SERVICE_RESTART = 1012
    """The server stops gracefully; the reason gives the retry time."""
    TRY_AGAIN_LATER = 1013
    """The request could not be stored, or the event waits for its database or is moving to another server.

    The reason gives the retry time.
    """
    ABNORMAL = 1006
    """Never sent: the code of an end that received no close frame, such as after a cut."""
    SILENT = 4000
    """No sign of life within the grace period."""
    FIRST_MESSAGE_LATE = 4001
    """The connection sent neither join nor resume in time."""
    OVERLOADED = 4100
    """Try again after the given time."""
    SUPERSEDED = 4200
    """A newer connection of the same participant replaced this one."""
    LEFT = 4201
    """The participant left on purpose."""
    EVENT_UNKNOWN = 4202
    """The server has no such event."""
    STRIKES = 4203
    """Too many messages that break the protocol."""
    KEY_REFUSED = 4204
    """The host key is wrong, or this server has none."""
    EVENT_FULL = 4205
    """The event has ``max_participants`` participants."""


class RetryClass(Enum):
    """What a client does after an ending."""

    RETRY = "retry"
    """Retry by the usual policy."""
    RETRY_ADVISED = "retry_advised"
    """Retry, and not before the time in the reason, ``retry_after=<seconds>``, or in ``Retry-After``, if there is one.
    """
    NEVER = "never"
    """Do not retry automatically."""


_NEVER = frozenset(
    {
        CloseCode.NORMAL,
        CloseCode.PROTOCOL_ERROR,
        CloseCode.INVALID_DATA,
        CloseCode.POLICY_VIOLATION,
        CloseCode.TOO_BIG,
    }
)
_ADVISED = frozenset({CloseCode.SERVICE_RESTART, CloseCode.TRY_AGAIN_LATER})
_OWN_ADVISED = range(4100, 4200)
_OWN_NEVER = range(4200, 4300)
_CLIENT_ERRORS = range(400, 500)
_PASSING = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_ADVISED_STATUSES = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE})


def retry_class(code: int) -> RetryClass:
    """The class of a close code; see the module's table."""
    if code in _NEVER or code in _OWN_NEVER:
        return RetryClass.NEVER
    if code in _ADVISED or code in _OWN_ADVISED:
        return RetryClass.RETRY_ADVISED
    return RetryClass.RETRY


def retry_class_of_status(status: int) -> RetryClass:
    """The class of the HTTP status of a handshake that was not accepted; ``Retry-After`` counts for 429 and 503."""
    if status in _ADVISED_STATUSES:
        return RetryClass.RETRY_ADVISED
    return RetryClass.NEVER if status in _CLIENT_ERRORS and status not in _PASSING else RetryClass.RETRY


def retry_after_reason(wait: Seconds) -> str:
    """The reason of a close that tells the client to come back after ``wait`` seconds, to the millisecond."""
    return f"retry_after={max(wait, 0.0):.3f}"


def retry_after_in_reason(reason: str) -> Seconds | None:
    """The ``retry_after`` in the reason of a close, in seconds, if there is one."""
    found = _RETRY_AFTER.search(reason)
    return float(found.group(1)) if found else None
