"""Session tokens: rotation, confirmation, retirement."""

from __future__ import annotations

import pytest

from resilience.protocol.effects import SessionRow
from resilience.protocol.server import tokens
from resilience.protocol.server.tokens import ResumeRejection, TokenRegistry, token_hash
from tests.support.counted_names import counted


def accepted(registry: TokenRegistry) -> list[str]:
    """Which of the tokens t1 … t9 are accepted."""
    return [token for token in (f"t{i}" for i in range(1, 10)) if registry.find(token_hash(token)) is not None]


def test_the_newest_token_retires_the_others_when_it_is_confirmed() -> None:
    """F15, F14: the presented token counts until the fresh one is confirmed, older ones never."""
    registry = TokenRegistry(counted("t"))
    registry.rotate("p1", None)
    registry.rotate("p1", token_hash("t1"))
    assert accepted(registry) == ["t1", "t2"]
    assert registry.confirm("p1", 1)
    assert accepted(registry) == ["t1", "t2"]
    assert registry.confirm("p1", 2)
    assert not registry.confirm("p1", 2)
    assert accepted(registry) == ["t2"]
    assert registry.rejection_of(token_hash("t1")) == (ResumeRejection.RETIRED, "p1")
    assert registry.rejection_of(token_hash("guess")) == (ResumeRejection.UNKNOWN, None)


def test_a_rotation_whose_reply_was_lost_keeps_the_presented_token() -> None:
    registry = TokenRegistry(counted("t"))
    registry.rotate("p1", None)
    for _ in range(3):
        registry.rotate("p1", token_hash("t1"))
    assert accepted(registry) == ["t1", "t4"]
    assert registry.state_of("p1").generation == 4


def test_a_restored_row_is_accepted_as_it_was_stored() -> None:
    registry = TokenRegistry(counted("t", 3))
    row = SessionRow("p1", "ann", "connected", 1, 2, (token_hash("t2"), token_hash("t1")), "i1", confirmed=True)
    registry.restore(row)
    assert accepted(registry) == ["t1", "t2"]
    registry.rotate("p1", token_hash("t2"))
    assert accepted(registry) == ["t2", "t3"]


def test_a_forgotten_participant_leaves_no_token() -> None:
    registry = TokenRegistry(counted("t"))
    registry.rotate("p1", None)
    registry.rotate("p2", None)
    registry.forget("p1")
    assert accepted(registry) == ["t2"]
    assert registry.rejection_of(token_hash("t1")) == (ResumeRejection.UNKNOWN, None)
    assert (registry.state_of("p1").generation, registry.state_of("p2").generation) == (0, 1)


def test_the_number_of_retired_tokens_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "MAX_RETIRED_TOKENS", 2)
    registry = TokenRegistry(counted("t"))
    registry.rotate("p1", None)
    for generation in range(1, 5):
        registry.rotate("p1", token_hash(f"t{generation}"))
        registry.confirm("p1", generation + 1)
    reasons = [registry.rejection_of(token_hash(f"t{i}"))[0] for i in range(1, 5)]
    assert reasons == [ResumeRejection.UNKNOWN] * 2 + [ResumeRejection.RETIRED] * 2
