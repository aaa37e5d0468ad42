"""What clients send in the model: its length, and the limits of an address, as over a real socket."""

from __future__ import annotations

import pytest
from websockets.frames import Frame, Opcode

from resilience.config import ServerConfig
from resilience.eventlog.vocabulary import LogEventKind as K
from resilience.protocol.codec import encode
from resilience.protocol.messages import Join, Probe
from sim.model.input import frame_bytes

from .runs import experiment, of, run
from .test_connections import patient


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536])
def test_a_frame_is_as_long_as_the_librarys(size: int) -> None:
    frame = Frame(Opcode.TEXT, b"a" * size)
    assert frame_bytes(size) == len(frame.serialize(mask=True))


def test_a_message_that_is_too_long_ends_its_client_for_good() -> None:
    """A join is longer than a probe; the server reads nothing of it and says 1009."""
    most = len(encode(Probe(1)))
    assert most < len(encode(Join(event="e", name="n", instance="i")))
    log = run(patient(experiment(clients=2, server=ServerConfig(max_message_bytes=most))))
    assert [event.cause for event in of(log, K.TRANSPORT_LOST, role="client")] == ["close_1009"] * 2
    assert [event.cause for event in of(log, K.CLIENT_DISMISSED)] == ["1009"] * 2
    assert [event.cause for event in of(log, K.CONNECTION_REFUSED)] == ["protocol"] * 2
    assert not of(log, K.SESSION_CREATED)


def test_all_clients_share_the_limits_of_one_address() -> None:
    """Three of eight may open a connection at once, then one in two seconds."""
    server = ServerConfig(address_rate=0.5, address_burst=3)
    log = run(patient(experiment(clients=8, server=server, duration=30.0)))
    assert len([event for event in of(log, K.SESSION_CREATED) if event.t < 0.1]) == 3
    assert {event.cause for event in of(log, K.JOIN_SHED)} == {"address"}
    assert len(of(log, K.SESSION_CREATED)) == 8


def test_all_clients_share_the_messages_of_one_address() -> None:
    server = ServerConfig(address_message_rate=1.0, address_message_burst=4)
    log = run(patient(experiment(clients=6, server=server, duration=10.0)))
    assert len([event for event in of(log, K.SESSION_CREATED) if event.t < 0.1]) <= 4
    assert of(log, K.MESSAGE_DELAYED)
