"""The five verdicts on an answer. Pure."""

from __future__ import annotations

from enum import StrEnum


class AnswerVerdict(StrEnum):
    """The reply to each submission, exactly one; ``duplicate`` repeats the stored verdict."""

    ACCEPTED = "accepted"
    """The answer counts and is stored."""
    DUPLICATE = "duplicate"
    """Another answer of this participant to this question arrived first and counts."""
    REJECTED_LATE = "rejected_late"
    """The question is closed."""
    REJECTED_PHASE = "rejected_phase"
    """The question is not open yet."""
    REJECTED_INVALID = "rejected_invalid"
    """The question or the choice does not exist."""
