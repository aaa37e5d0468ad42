"""Ids and tokens of simulated servers depend on the seed and on who asks."""

from __future__ import annotations

import re

from sim.keyed_names import keyed_ids, keyed_tokens


def test_ids_and_tokens_do_not_depend_on_the_order_of_asking() -> None:
    for keyed in (keyed_ids, keyed_tokens):
        one, other = keyed(7), keyed(7)
        assert {who: one(who) for who in "abc"} == {who: other(who) for who in "cab"}
        assert [one("a"), one("a")] == [other("a"), other("a")]


def test_no_two_are_equal() -> None:
    for keyed in (keyed_ids, keyed_tokens):
        makers = [keyed(seed) for seed in (1, 2)]
        names = [make(f"i{number}") for make in makers for number in range(500) for _ in range(2)]
        assert len(set(names)) == len(names)


def test_they_have_the_form_of_the_real_ones() -> None:
    assert re.fullmatch(r"[a-z2-7]{12}", keyed_ids(1)("i"))
    assert re.fullmatch(r"[0-9a-f]{32}", keyed_tokens(1)("p"))
