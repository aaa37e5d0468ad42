"""Participant ids and session tokens of simulated servers: functions of the seed and of who asks, never of the order.

They have the form of the ids and tokens of ``resilience serve``. The seed reveals them.
"""

from __future__ import annotations

from base64 import b32encode
from collections import Counter
from collections.abc import Callable

from resilience.random_streams import derive_key

ID_CHARACTERS = 12


def keyed_ids(seed: int) -> Callable[[str], str]:
    """Make participant ids of twelve base32 characters; the n-th id of an instance is always the same."""
    return _keyed(seed, "participant", lambda words: b32encode(words[:8])[:ID_CHARACTERS].decode().lower())


def keyed_tokens(seed: int) -> Callable[[str], str]:
    """Make session tokens of 128 bits, hexadecimal; the n-th token of a participant is always the same."""
    return _keyed(seed, "token", bytes.hex)


def _keyed(seed: int, purpose: str, text_of: Callable[[bytes], str]) -> Callable[[str], str]:
    asked: Counter[str] = Counter()

    def draw(who: str) -> str:
        asked[who] += 1
        halves = (derive_key(seed, purpose, who, asked[who], half) for half in range(2))
        return text_of(b"".join(half.to_bytes(8, "big") for half in halves))

    return draw
