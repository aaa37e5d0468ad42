"""Second tabs and replays as machines: what each presents, and what it tells of the reply."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from resilience.experiment.spec import Cohort, Experiment
from resilience.lab.observation import ObservationKind
from resilience.lab.observer import ObservingClient, make_observing_client
from resilience.lab.participants import ParticipantSpec, next_tab, person_of, tab_name
from resilience.lab.second_clients import TokenReplay, make_second_tab, replays_for
from resilience.protocol.effects import CloseTransport, OpenTransport, SendToServer
from resilience.protocol.messages import Credentials, ProbeReply, Resume, ResumeRejected
from resilience.protocol.states import ClientState

EXPERIMENT = Experiment("e", 60.0, (Cohort("a", 1),))
ADA = ParticipantSpec("a-0001", "a", 1, "a")
TOKEN = Credentials("p1", "token two", 2, 2)


def owner(state: ClientState = ClientState.OPEN) -> ObservingClient:
    """A client that has held two tokens, of which the server must refuse the first by now."""
    client = make_observing_client(EXPERIMENT, ADA, 1)
    client.state, client.credentials = state, TOKEN
    for token in ("token one", TOKEN.token):
        client.tokens.hold(token)
    client.tokens.receive(ProbeReply(1))
    return client


def sent_first(machine: ObservingClient | TokenReplay) -> object:
    """What it says over its first connection."""
    machine.start(0.0)
    machine.transport_opened(machine.dial, 0.1)
    return next(effect.message for effect in machine.effects() if isinstance(effect, SendToServer))


@pytest.mark.parametrize("state, met", [(ClientState.OPEN, True), (ClientState.BACKING_OFF, False)])
def test_a_second_tab_presents_the_session_of_the_first(state: ClientState, met: bool) -> None:
    """It is a client of its own: another name in the log, another instance, the same person."""
    first = owner(state)
    spec, tab = make_second_tab(EXPERIMENT, ADA, first, 2, 1)
    message = sent_first(tab)
    assert isinstance(message, Resume)
    assert message.token == TOKEN.token
    assert (spec.actor, tab.identity.instance, tab.identity.name) == ("a-0001.tab2", "a-0001.tab2", "a-0001")
    assert tab.met_first is met
    assert tab.tokens.replaced is None


def test_names_of_tabs_tell_the_person_and_the_order() -> None:
    assert tab_name("a-0001", 2) == next_tab("a-0001") == "a-0001.tab2"
    assert next_tab("a-0001.tab2") == "a-0001.tab3"
    assert person_of("a-0001") == person_of("a-0001.tab3") == "a-0001"


@pytest.mark.parametrize("client", [owner(ClientState.BACKING_OFF), make_observing_client(EXPERIMENT, ADA, 1)])
def test_there_is_no_replay_without_a_session_and_a_replaced_token(client: ObservingClient) -> None:
    assert replays_for(client, EXPERIMENT) is None


REPLIES: dict[str, tuple[Callable[[TokenReplay], None], str, bool]] = {
    "refused": (lambda m: m.receive(ResumeRejected("retired"), m.dial, 0.2), "retired", True),
    "closed": (lambda m: m.transport_lost(m.dial, "close_4203", 0.2, 4203), "close_4203", True),
    "cut": (lambda m: m.transport_lost(m.dial, "closed", 0.2), "unanswered", False),
    "silence": (lambda m: m.handle_timeout(m.next_deadline() or 0.0), "unanswered", False),
}


@pytest.mark.parametrize("reply", REPLIES)
def test_a_replay_takes_the_first_reply_and_leaves(reply: str) -> None:
    """The owner has it on record, with the token that was presented; there is no second attempt."""
    client = owner()
    replay = replays_for(client, EXPERIMENT)
    assert replay is not None
    message = sent_first(replay)
    assert isinstance(message, Resume)
    assert message.token == "token one"
    react, outcome, is_answered = REPLIES[reply]
    react(replay)
    assert (replay.state, replay.is_answered) == (ClientState.CLOSED, is_answered)
    effects = replay.effects()
    assert any(isinstance(effect, CloseTransport) for effect in effects)
    assert not any(isinstance(effect, OpenTransport) for effect in effects)
    assert replay.next_deadline() is None
    (row,) = [row for row in client.observations if row.kind is ObservationKind.REPLAY]
    assert (row.actor, row.outcome) == ("a-0001", outcome)


def test_a_replay_that_reaches_no_server_is_unanswered() -> None:
    client = owner()
    replay = replays_for(client, EXPERIMENT)
    assert replay is not None
    replay.start(0.0)
    replay.transport_failed(replay.dial, "refused", 0.1)
    assert (replay.state, replay.is_answered) == (ClientState.CLOSED, False)
