"""Who takes part in a simulation, and over which links: segments of participants with their network profiles. Pure.

Participants are numbered from 0, one segment after the other. Within a segment they keep their numbers, and so their
draws, when another segment is added or this one grows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from resilience.errors import require

from .profile import NetworkProfile

MAX_PARTICIPANTS = 20_000_000

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]*")


class Segment(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Participants whose links have the same profiles, laid over one another."""

    name: str
    participants: int
    profiles: tuple[NetworkProfile, ...]


class NetworkMix(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Segments in order; raises :class:`~resilience.errors.ConfigError` for one that breaks a rule."""

    segments: tuple[Segment, ...]

    def __post_init__(self) -> None:
        """Check names and sizes."""
        require(bool(self.segments), "segments", [], "must name at least one segment")
        seen: set[str] = set()
        for i, segment in enumerate(self.segments):
            key = f"segments[{i}]"
            named = bool(_NAME.fullmatch(segment.name)) and segment.name not in seen
            require(named, f"{key}.name", segment.name, "must be unique, of lower-case letters, digits, - and _")
            require(segment.participants >= 1, f"{key}.participants", segment.participants, "must be at least 1")
            names = [profile.name for profile in segment.profiles]
            require(bool(names), f"{key}.profiles", names, "must name at least one profile")
            require(len(set(names)) == len(names), f"{key}.profiles", names, "must not repeat")
            seen.add(segment.name)
        rule = f"must be at most {MAX_PARTICIPANTS:,} in all"
        require(self.participants <= MAX_PARTICIPANTS, "participants", self.participants, rule)

    @property
    def participants(self) -> int:
        """How many there are in all."""
        return sum(segment.participants for segment in self.segments)

    def ranges(self, first: int, past: int) -> Iterator[tuple[Segment, int, int]]:
        """The segments that the participants from ``first`` to before ``past`` are in, with their numbers there."""
        begin = 0
        for segment in self.segments:
            low, high = max(first - begin, 0), min(past - begin, segment.participants)
            if low < high:
                yield segment, low, high
            begin += segment.participants
