"""Which participant an arriving connection stands for: ids, collisions, repeated joins, forgotten ones."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from resilience.eventlog.vocabulary import LogEventKind
from resilience.protocol.effects import Record, SendToClient, ServerEffect, SessionRow
from resilience.protocol.messages import Join, Resume, ResumeRejected
from resilience.protocol.server.identities import CREATED, REJOINED, RESUMED, IdentityRegistry
from resilience.protocol.server.tokens import TokenRegistry, token_hash
from tests.support.counted_names import counted


class IdentityHarness:
    """A registry whose ids are drawn from a list."""

    def __init__(self, ids: Iterable[str] = ("ada", "bob", "cid")) -> None:
        self.effects: list[ServerEffect] = []
        self.asked: list[str] = []
        self.tokens = TokenRegistry(counted("t"))
        self._ids = iter(ids)
        self.identities = IdentityRegistry(self.effects, self.tokens, self._new_id)

    def _new_id(self, instance: str) -> str:
        self.asked.append(instance)
        return next(self._ids)

    def join(self, instance: str, connection: int = 1) -> str:
        """Join and receive a token; returns the participant id."""
        session = self.identities.join(Join(event="e", name="n", instance=instance), connection, 0.0).session
        self.tokens.rotate(session.participant, None)
        return session.participant

    def confirm(self, participant: str) -> None:
        """The client holds its first token."""
        self.identities.release_instance(self.identities.sessions[participant])
        self.tokens.confirm(participant, 1)


def test_an_id_that_exists_is_drawn_again() -> None:
    harness = IdentityHarness(["ada", "ada", "ada", "bob"])
    assert [harness.join("i1"), harness.join("i2")] == ["ada", "bob"]
    assert harness.asked == ["i1", "i2", "i2", "i2"]


def test_a_restored_id_is_not_given_to_anybody_else() -> None:
    harness = IdentityHarness(["ada", "bob"])
    harness.identities.restore(
        SessionRow("ada", "n", "disconnected", 1, 1, (token_hash("t9"),), "i1", confirmed=True), 0.0
    )
    assert harness.join("i1") == "bob"


@pytest.mark.parametrize(
    "status, same", [("connected", True), ("temporarily_disconnected", True), ("disconnected", False)]
)
def test_the_instance_of_a_restored_identity_opens_it_unless_it_left_or_expired(status: str, same: bool) -> None:
    """Its first token was never confirmed; a restart of the server changes nothing about what an instance opens."""
    harness = IdentityHarness(["bob"])
    harness.identities.restore(SessionRow("ada", "n", status, 1, 1, (token_hash("t9"),), "i1"), 0.0)
    assert harness.join("i1") == ("ada" if same else "bob")


def test_the_same_instance_gets_its_unconfirmed_identity_again_and_then_a_new_one() -> None:
    harness = IdentityHarness()
    assert [harness.join("i1"), harness.join("i1")] == ["ada", "ada"]
    harness.confirm("ada")
    assert harness.join("i1") == "bob"


def test_a_confirmed_identity_does_not_release_the_instance_of_its_successor() -> None:
    """Both have the same instance: a late confirmation of the first one concerns the first one only."""
    harness = IdentityHarness()
    harness.join("i1")
    harness.confirm("ada")
    assert harness.join("i1") == "bob"
    harness.confirm("ada")
    assert harness.join("i1") == "bob"


def test_a_forgotten_identity_is_forgotten_once_even_if_its_id_is_in_use_again() -> None:
    harness = IdentityHarness(["ada", "ada"])
    harness.join("i1")
    first = harness.identities.sessions["ada"]
    assert harness.identities.forget(first)
    assert harness.join("i1") == "ada"
    assert not harness.identities.forget(first)
    assert list(harness.identities.sessions) == ["ada"]
    assert harness.tokens.find(token_hash("t2")) == "ada"


def test_a_resume_finds_the_holder_of_the_token() -> None:
    harness = IdentityHarness()
    harness.join("i1")
    session = harness.identities.sessions["ada"]
    session.attach(1, 0.0, 0.0)
    outcomes = []
    for leaves in (False, True):
        if leaves:
            session.leave(1.0)
        found = harness.identities.resume(Resume(event="e", token="t1"), 2, 2.0)
        assert found is not None
        assert (found.session, found.presented) == (session, token_hash("t1"))
        outcomes.append(found.outcome)
    assert (outcomes, CREATED) == ([RESUMED, REJOINED], "created")


def test_an_unknown_token_is_rejected() -> None:
    harness = IdentityHarness()
    assert harness.identities.resume(Resume(event="e", token="guess"), 2, 2.0) is None
    assert harness.effects == [
        Record(LogEventKind.RESUME_REFUSED, 2.0, None, cause="unknown"),
        SendToClient(2, ResumeRejected("unknown")),
    ]
