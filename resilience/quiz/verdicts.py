"""The five things that can become of an answer. Pure words."""

from __future__ import annotations

from enum import StrEnum


class AnswerVerdict(StrEnum):
    """Exactly one of these answers each submission; ``duplicate`` repeats what was stored first."""

    ACCEPTED = "accepted"
    DUPLICATE = "duplicate"
    REJECTED_LATE = "rejected_late"
    REJECTED_PHASE = "rejected_phase"
    REJECTED_INVALID = "rejected_invalid"
