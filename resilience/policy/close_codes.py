"""Which ending may be retried. The one table of close codes, and their three classes. Pure.

4000-4099 come back at once by the usual policy, 4100-4199 come back when the server says, 4200-4299 never.
Standard codes (RFC 6455 section 7.4) are classed beside them; an unknown ending is a lost network: retry.
"""

from __future__ import annotations

import re
from enum import Enum, IntEnum

from resilience.units import Seconds

_RETRY_AFTER = re.compile(r"retry_after=(\d+(?:\.\d+)?)")


class CloseCode(IntEnum):
    """Why the server ends a connection."""

    NORMAL = 1000
    """All is said: the client goes, or the event is over and makes room for another."""
    GOING_AWAY = 1001
    """The other side goes away, such as a page that is left."""
    PROTOCOL_ERROR = 1002
    """The frames or the protocol version are wrong."""
    POLICY_VIOLATION = 1008
    """What was sent is not allowed."""
    TOO_BIG = 1009
    """A message is longer than ``max_message_bytes``."""
    INTERNAL_ERROR = 1011
    """The server failed at something unforeseen."""
    SERVICE_RESTART = 1012
    """The server stops in order; the reason says when to come back."""
    TRY_AGAIN_LATER = 1013
    """What was asked could not be stored, or the event is moving to another server.

    The reason says when to come back.
    """
    ABNORMAL = 1006
    """Never sent: what an end sees that got no close frame, such as one that was cut off."""
    SILENT = 4000
    """No sign of life within the grace period."""
    FIRST_MESSAGE_LATE = 4001
    """The connection said neither join nor resume in time."""
    OVERLOADED = 4100
    """Come back after the time given."""
    SUPERSEDED = 4200
    """A newer connection of the same participant took over."""
    LEFT = 4201
    """The participant left on purpose."""
    EVENT_UNKNOWN = 4202
    """There is no such event here."""
    STRIKES = 4203
    """Too many messages that break the protocol."""
    KEY_REFUSED = 4204
    """The host key is wrong, or this server has none."""


class RetryClass(Enum):
    """What a client does after an ending."""

    RETRY = "retry"
    """Come back by the usual policy."""
    RETRY_ADVISED = "retry_advised"
    """Come back after the time in the reason, ``retry_after=<seconds>``; without one, by the usual policy."""
    NEVER = "never"
    """Do not come back by yourself."""


_NEVER = frozenset({CloseCode.NORMAL, CloseCode.POLICY_VIOLATION, CloseCode.PROTOCOL_ERROR, CloseCode.TOO_BIG})
_ADVISED = frozenset({CloseCode.SERVICE_RESTART, CloseCode.TRY_AGAIN_LATER})
_OWN_ADVISED = range(4100, 4200)
_OWN_NEVER = range(4200, 4300)


def retry_class(code: int) -> RetryClass:
    """The class of a close code; see the module's table."""
    if code in _NEVER or code in _OWN_NEVER:
        return RetryClass.NEVER
    if code in _ADVISED or code in _OWN_ADVISED:
        return RetryClass.RETRY_ADVISED
    return RetryClass.RETRY


def retry_after_reason(wait: Seconds) -> str:
    """The reason of a close that tells the client to come back after ``wait`` seconds, to the millisecond."""
    return f"retry_after={max(wait, 0.0):.3f}"


def retry_after_in_reason(reason: str) -> Seconds | None:
    """The ``retry_after`` in the reason of a close, in seconds, if there is one."""
    found = _RETRY_AFTER.search(reason)
    return float(found.group(1)) if found else None
