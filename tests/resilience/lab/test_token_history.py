"""Which old token of a client its server must refuse by now, compared with the server's own registry of tokens."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resilience.lab.token_history import TokenHistory
from resilience.protocol.messages import AnswerResult, ProbeReply, ResumeRejected
from resilience.protocol.server.tokens import ResumeRejection, TokenRegistry, token_hash
from resilience.quiz.verdicts import AnswerVerdict

STEPS = st.lists(st.sampled_from(["resume", "lost welcome", "confirm", "lost confirm", "reply"]), max_size=20)


@given(STEPS)
def test_a_token_that_is_replayed_is_one_that_the_server_has_retired(steps: list[str]) -> None:
    """Whatever is lost on the way: the server never accepts it, so a sound server is never accused."""
    numbers = iter(range(1000))
    registry, history = TokenRegistry(lambda who: f"{who} {next(numbers)}"), TokenHistory()
    held, generation, is_confirmed = registry.rotate("ada", None), 1, False
    history.hold(held)
    for step in steps:
        if step in {"resume", "lost welcome"}:
            fresh = registry.rotate("ada", token_hash(held))
            if step == "resume":
                held, is_confirmed = fresh, False
                generation = registry.state_of("ada").generation
                history.hold(held)
        elif step == "confirm":
            registry.confirm("ada", generation)
            is_confirmed = True
        elif step == "reply" and is_confirmed:  # the first message of a session confirms, every other one follows it
            history.receive(ProbeReply(1))
        if history.replaced is not None:
            assert registry.find(token_hash(history.replaced)) is None
            assert registry.rejection_of(token_hash(history.replaced)) == (ResumeRejection.RETIRED, "ada")


def test_the_token_before_is_replayed_once_a_reply_proves_the_present_one() -> None:
    history = TokenHistory()
    assert history.replaced is None
    history.hold("one")
    history.receive(ProbeReply(1))
    assert history.replaced is None
    history.hold("two")
    assert history.replaced is None
    history.receive(AnswerResult("q1", "key", AnswerVerdict.ACCEPTED))
    assert history.replaced == "one"
    history.hold("three")
    assert history.replaced == "one"
    history.receive(ResumeRejected("unknown"))
    assert history.replaced is None
