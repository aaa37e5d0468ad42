"""Ids and tokens of ``resilience serve``: random, of one form, never twice."""

from __future__ import annotations

import re

from resilience.server.serve import PIECES_AT_ONCE, id_generator, token_generator


def test_participant_ids_are_random_and_no_function_of_the_instance() -> None:
    new_id, other = id_generator(), id_generator()
    ids = [make("the same instance") for make in (new_id, other) for _ in range(2 * PIECES_AT_ONCE + 1)]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z2-7]{12}", participant) for participant in ids)


def test_tokens_have_at_least_128_bits_and_never_repeat() -> None:
    new_token = token_generator()
    tokens = [new_token("p") for _ in range(2 * PIECES_AT_ONCE + 1)]
    assert len(set(tokens)) == len(tokens)
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{32}", token) for token in tokens)
