"""Client machines brought into each state by ordinary means, and everything that can happen to one."""

from __future__ import annotations

from collections.abc import Callable

from resilience.config import ClientConfig
from resilience.policy.backoff import Preset
from resilience.policy.close_codes import CloseCode
from resilience.protocol.client.participant import ParticipantClient
from resilience.protocol.messages import Ping, QuizFinished, ResumeRejected
from resilience.protocol.states import ClientState
from tests.support.machines import ClientHarness, joined, restored

CLASSIC = ClientConfig(preset=Preset.CLASSIC)


def client_in(state: ClientState) -> ClientHarness:
    """A client brought into a state at time 0 by ordinary means."""
    client = ClientHarness(CLASSIC if state is ClientState.GAVE_UP else None)
    machine = client.machine
    if state is ClientState.IDLE:
        return client
    machine.start(0.0)
    if state in (ClientState.JOINING, ClientState.OPEN, ClientState.CLOSED):
        machine.transport_opened(1, 0.0)
    if state in (ClientState.OPEN, ClientState.CLOSED):
        machine.receive(joined(), 1, 0.0)
    if state is ClientState.CLOSED:
        machine.leave(0.0)
    if state is ClientState.BACKING_OFF:
        machine.transport_failed(1, "refused", 0.0)
    if state is ClientState.GAVE_UP:
        exhaust(machine)
    client.take_effects()
    assert machine.state is state
    return client


def exhaust(machine: ParticipantClient) -> None:
    """Every dial is refused until the client gives up."""
    for _ in range(100):
        machine.transport_failed(machine.dial, "refused", machine.next_deadline() or 0.0)
        machine.handle_timeout(machine.next_deadline() or 0.0)


INPUTS: dict[str, Callable[[ParticipantClient, int], None]] = {
    "start": lambda m, _: m.start(1.0),
    "opened": lambda m, dial: m.transport_opened(dial, 1.0),
    "failed": lambda m, dial: m.transport_failed(dial, "refused", 1.0),
    "lost": lambda m, dial: m.transport_lost(dial, "closed", 1.0),
    "superseded": lambda m, dial: m.transport_lost(dial, "closed", 1.0, CloseCode.SUPERSEDED),
    "joined": lambda m, dial: m.receive(joined(), dial, 1.0),
    "restored": lambda m, dial: m.receive(restored(), dial, 1.0),
    "rejected": lambda m, dial: m.receive(ResumeRejected("unknown"), dial, 1.0),
    "ping": lambda m, dial: m.receive(Ping(7, 100, 300, 3000), dial, 1.0),
    "gap": lambda m, dial: m.receive(QuizFinished(9, ()), dial, 1.0),
    "answer": lambda m, _: m.answer("q1", 2, 1.0),
    "leave": lambda m, _: m.leave(1.0),
    "wake": lambda m, _: m.wake(1.0),
    "wake later": lambda m, _: m.wake(3.0),
    "early": lambda m, _: m.handle_timeout(0.0),
    "due": lambda m, _: m.handle_timeout(m.next_deadline() or 0.0),
    "late": lambda m, _: m.handle_timeout(500.0),
}
"""What can happen to a client, under a dial number."""

S = ClientState
MOVES = {
    (S.IDLE, "start"): S.CONNECTING,
    (S.IDLE, "leave"): S.CLOSED,
    (S.CONNECTING, "opened"): S.JOINING,
    (S.CONNECTING, "failed"): S.BACKING_OFF,
    (S.CONNECTING, "due"): S.BACKING_OFF,
    (S.CONNECTING, "leave"): S.CLOSED,
    (S.JOINING, "lost"): S.BACKING_OFF,
    (S.JOINING, "superseded"): S.CLOSED,
    (S.JOINING, "joined"): S.OPEN,
    (S.JOINING, "restored"): S.OPEN,
    (S.JOINING, "rejected"): S.BACKING_OFF,
    (S.JOINING, "due"): S.BACKING_OFF,
    (S.JOINING, "late"): S.CONNECTING,
    (S.JOINING, "wake later"): S.CONNECTING,
    (S.JOINING, "leave"): S.CLOSED,
    (S.OPEN, "lost"): S.BACKING_OFF,
    (S.OPEN, "superseded"): S.CLOSED,
    (S.OPEN, "gap"): S.BACKING_OFF,
    (S.OPEN, "leave"): S.CLOSED,
    (S.BACKING_OFF, "due"): S.CONNECTING,
    (S.BACKING_OFF, "late"): S.CONNECTING,
    (S.BACKING_OFF, "wake"): S.CONNECTING,
    (S.BACKING_OFF, "wake later"): S.CONNECTING,
    (S.BACKING_OFF, "leave"): S.CLOSED,
    (S.GAVE_UP, "start"): S.CONNECTING,
    (S.GAVE_UP, "wake"): S.CONNECTING,
    (S.GAVE_UP, "wake later"): S.CONNECTING,
    (S.GAVE_UP, "leave"): S.CLOSED,
}
"""Every input that moves a client, by the state it is in; all others leave it where it is."""
