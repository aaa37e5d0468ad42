"""The five things that can become of an answer. Pure words."""

from __future__ import annotations

from enum import StrEnum


class AnswerVerdict(StrEnum):
    """Exactly one of these answers each submission; ``duplicate`` repeats what was stored first."""

    ACCEPTED = "accepted"
    """It counts, and is stored."""
    DUPLICATE = "duplicate"
    """Another answer of this participant to this question was first; that one counts."""
    REJECTED_LATE = "rejected_late"
    """The question was closed."""
    REJECTED_PHASE = "rejected_phase"
    """The question is not open yet."""
    REJECTED_INVALID = "rejected_invalid"
    """There is no such question or no such choice."""
