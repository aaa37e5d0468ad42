"""Every close code and its class."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilience.policy.close_codes import CloseCode, RetryClass, retry_class, retry_class_of_status

EXPECTED = {
    CloseCode.NORMAL: RetryClass.NEVER,
    CloseCode.GOING_AWAY: RetryClass.RETRY,
    CloseCode.PROTOCOL_ERROR: RetryClass.NEVER,
    CloseCode.POLICY_VIOLATION: RetryClass.NEVER,
    CloseCode.TOO_BIG: RetryClass.NEVER,
    CloseCode.INTERNAL_ERROR: RetryClass.RETRY,
    CloseCode.SERVICE_RESTART: RetryClass.RETRY_ADVISED,
    CloseCode.TRY_AGAIN_LATER: RetryClass.RETRY_ADVISED,
    CloseCode.ABNORMAL: RetryClass.RETRY,
    CloseCode.INVALID_DATA: RetryClass.NEVER,
    CloseCode.SILENT: RetryClass.RETRY,
    CloseCode.FIRST_MESSAGE_LATE: RetryClass.RETRY,
    CloseCode.OVERLOADED: RetryClass.RETRY_ADVISED,
    CloseCode.SUPERSEDED: RetryClass.NEVER,
    CloseCode.LEFT: RetryClass.NEVER,
    CloseCode.EVENT_UNKNOWN: RetryClass.NEVER,
    CloseCode.EVENT_FULL: RetryClass.NEVER,
    CloseCode.STRIKES: RetryClass.NEVER,
    CloseCode.KEY_REFUSED: RetryClass.NEVER,
}


@pytest.mark.parametrize("code", CloseCode)
def test_every_close_code_has_its_class(code: CloseCode) -> None:
    assert retry_class(code) is EXPECTED[code]


@pytest.mark.parametrize(
    "code, expected",
    [
        (3999, RetryClass.RETRY),
        (4000, RetryClass.RETRY),
        (4099, RetryClass.RETRY),
        (4100, RetryClass.RETRY_ADVISED),
        (4199, RetryClass.RETRY_ADVISED),
        (4200, RetryClass.NEVER),
        (4299, RetryClass.NEVER),
        (4300, RetryClass.RETRY),
        (1005, RetryClass.RETRY),
        (0, RetryClass.RETRY),
    ],
)
def test_the_edges_of_the_classes(code: int, expected: RetryClass) -> None:
    """The three private ranges end at their bounds; an unknown code counts as a lost network."""
    assert retry_class(code) is expected


@given(st.integers(100, 999))
def test_only_client_errors_that_time_cannot_heal_are_final(status: int) -> None:
    """RFC 9110, section 15.5; 408, 425 and 429 are client errors about time."""
    is_final = 400 <= status <= 499 and status not in (408, 425, 429)
    assert (retry_class_of_status(status) is RetryClass.NEVER) is is_final
    assert (retry_class_of_status(status) is RetryClass.RETRY_ADVISED) is (status in (429, 503))
