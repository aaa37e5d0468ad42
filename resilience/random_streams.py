"""Addressed randomness: a draw is a function of *who asks for what*, never of what was drawn before.

Nothing here keeps state. Two draws with the same address are equal in every lane, process and shard; adding a
participant moves nobody else's numbers. The mixer is splitmix64's finaliser (Steele, Lea, Flood, OOPSLA 2014), applied
once per word of the address.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15
_TO_UNIT = 1.0 / (1 << 53)

UniformSource = Callable[[str, int, int], float]
"""``draw(purpose, incident, attempt)``: one participant's uniform number in [0, 1)."""


def _mix(word: int) -> int:
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)


@functools.lru_cache(maxsize=1024)
def hash64(text: str) -> int:
    """64 bits of ``text`` (FNV-1a), the same on every platform and in every process.

    The result is cached: the purposes of draws are few and hashed often.
    """
    word = 0xCBF29CE484222325
    for byte in text.encode():
        word = ((word ^ byte) * 0x100000001B3) & _MASK
    return word


def derive_key(seed: int, *words: int | str) -> int:
    """Fold a seed and the words of an address into 64 well-mixed bits."""
    state = _mix((seed + _GOLDEN) & _MASK)
    for word in words:
        state = _mix(((state ^ (hash64(word) if isinstance(word, str) else word & _MASK)) + _GOLDEN) & _MASK)
    return state


def uniform(seed: int, *words: int | str) -> float:
    """The uniform number in [0, 1) that lives at this address."""
    return (derive_key(seed, *words) >> 11) * _TO_UNIT


def random_for(seed: int, participant: str, replication: int = 0) -> UniformSource:
    """One participant's own draws, addressed by (purpose, incident, attempt) under its seed and replication."""
    base = derive_key(seed, replication, participant)

    def draw(purpose: str, incident: int, attempt: int) -> float:
        return uniform(base, purpose, incident, attempt)

    return draw
