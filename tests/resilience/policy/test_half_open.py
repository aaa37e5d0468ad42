"""Which unfinished handshake gives way: the oldest of the new transport's address, else the oldest of all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resilience.policy.half_open import HalfOpenConnections


def test_an_address_that_opens_many_harms_itself_first() -> None:
    waiting: HalfOpenConnections[int] = HalfOpenConnections()
    for key, address in enumerate(("honest", "bad", "bad", "bad")):
        waiting.add(key, address)
    assert waiting.to_replace("bad") == 1
    assert waiting.to_replace("new") == 0
    waiting.discard(1)
    assert waiting.to_replace("bad") == 2
    assert len(waiting) == 3


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9), st.sampled_from("abc"))))
def test_the_oldest_of_the_address_or_of_all_is_replaced(steps: list[tuple[bool, int, str]]) -> None:
    """Compared with a plain list, in any order of openings and ends; none is left behind."""
    waiting: HalfOpenConnections[int] = HalfOpenConnections()
    expected: list[tuple[int, str]] = []
    for opens, key, address in steps:
        if opens and key not in dict(expected):
            waiting.add(key, address)
            expected.append((key, address))
        elif not opens:
            waiting.discard(key)
            expected = [pair for pair in expected if pair[0] != key]
        own = [each for each, of in expected if of == address] or [each for each, _ in expected]
        assert waiting.to_replace(address) == (own[0] if own else None)
        assert len(waiting) == len(expected)
