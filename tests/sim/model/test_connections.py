"""What the server's connection machine decides holds in the model lane too: admission, limits, closes with advice."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import Any

import msgspec
import pytest

from resilience.config import ClientConfig, ServerConfig
from resilience.eventlog.vocabulary import LogEvent
from resilience.eventlog.vocabulary import LogEventKind as K
from resilience.experiment.costs import ModelCosts
from resilience.experiment.spec import Experiment, Hypothesis
from resilience.policy.backoff import Preset
from resilience.policy.handshake import HandshakePolicy, HandshakeRejection
from resilience.protocol.messages import ClientMessage, Leave, Probe
from resilience.protocol.states import ClientState
from resilience.quiz.phases import Phase
from sim.model.connection import ModelConnection
from sim.model.lane import ModelSystem
from sim.model.server import ModelServerDriver

from .runs import LIVELY, experiment, of, run, system_of


def patient(plan: Experiment) -> Experiment:
    """The same, steady whenever one client has joined at the end."""
    return msgspec.structs.replace(plan, hypothesis=Hypothesis(joined=0.001, within=plan.duration - 0.1))


def only_connection(system: ModelSystem) -> ModelConnection:
    """The one connection of the server."""
    (connection,) = system.driver._connections.values()
    return connection


def test_a_herd_is_admitted_at_the_servers_pace_and_no_client_gives_up() -> None:
    """F18 in the model: 1,000 clients dial at once against 100 joins per second."""
    plan = patient(experiment(clients=1000, server=ServerConfig(join_capacity=100.0), duration=30.0))
    system, log = system_of(plan)
    created = [event.t for event in of(log, K.SESSION_CREATED)]
    assert len(created) == 1000
    assert max(created) <= 1.3 * 1000 / 100
    assert max(Counter(int(t) for t in created if t >= 2.0).values()) <= 130
    shed = of(log, K.JOIN_SHED)
    assert 700 <= len(shed) <= 1000
    assert {event.cause for event in shed} == {"overload"}
    waits = of(log, K.BACKOFF_SCHEDULED)
    assert {event.cause for event in waits} == {"advice"}
    assert max(Counter(event.actor for event in waits).values()) <= 2
    assert {event.cause for event in of(log, K.TRANSPORT_FAILED)} == {"status_503"}
    assert not of(log, K.GAVE_UP)
    assert {client.machine.state for client in system.clients} == {ClientState.OPEN}


def test_work_that_waits_at_the_station_is_lag() -> None:
    """Handshakes of 0.1 s: no more than admission_seconds of them queue, whatever join_capacity promises."""
    costs = ModelCosts(handshake=0.1)
    plan = patient(experiment(clients=100, server=ServerConfig(admission_seconds=2.0), duration=60.0))
    _, log = system_of(plan, costs=costs)
    shed = of(log, K.JOIN_SHED)
    assert shed
    assert {event.cause for event in shed} == {"overload"}
    assert all(event.value is not None and event.value >= 2.0 for event in shed if event.t < 0.01)
    assert len(of(log, K.SESSION_CREATED)) == 100


def test_a_full_server_sends_the_rest_away_until_there_is_room() -> None:
    log = run(patient(experiment(clients=4, server=ServerConfig(max_connections=3))))
    shed = of(log, K.JOIN_SHED)
    assert {(event.cause, event.value) for event in shed} == {("full", 5.0)}
    assert len(of(log, K.SESSION_CREATED)) == 3
    waits = [event.value for event in of(log, K.BACKOFF_SCHEDULED)]
    assert waits == [5.0] * len(shed)


def reject_all(monkeypatch: pytest.MonkeyPatch, status: HTTPStatus, retry_after: float | None) -> list[LogEvent]:
    """The log of one client of a server that rejects every handshake."""
    rejection = HandshakeRejection(status, "origin" if retry_after is None else "full", retry_after)
    monkeypatch.setattr(HandshakePolicy, "check", lambda *_, **__: rejection)
    plan = patient(experiment(clients=1, duration=60.0, client=ClientConfig(preset=Preset.CLASSIC)))
    return system_of(plan)[1]


def test_a_handshake_rejected_for_good_ends_the_client(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its status, as over a real socket."""
    log = reject_all(monkeypatch, HTTPStatus.FORBIDDEN, None)
    assert len(of(log, K.TRANSPORT_OPENING)) == 1
    assert [event.cause for event in of(log, K.CLIENT_DISMISSED)] == ["status_403"]


def test_advice_of_zero_makes_no_storm(monkeypatch: pytest.MonkeyPatch) -> None:
    """F48 in the model: one free wait, then the ladder."""
    log = reject_all(monkeypatch, HTTPStatus.SERVICE_UNAVAILABLE, 0.0)
    assert [event.value for event in of(log, K.BACKOFF_SCHEDULED)] == [0.05, 1, 2, 4, 8, 16, 30]


def test_the_advice_in_a_close_reaches_the_client() -> None:
    """As the reason of a close frame does in the other lanes; a code that may not carry advice gives none."""

    def close_later(system: ModelSystem) -> None:
        def close(code: int, reason: str) -> None:
            machine = only_connection(system).machine
            assert machine is not None
            machine.close(code, reason)
            system.driver.carry_out()

        system.environment.at(5.0, lambda _: close(4100, "retry_after=3.500"))
        system.environment.at(15.0, lambda _: close(4000 + 1, "retry_after=3.500"))

    _, log = system_of(experiment(duration=40.0), prepare=close_later)
    advised, usual = of(log, K.BACKOFF_SCHEDULED)
    assert (advised.cause, advised.value) == ("advice", 3.5)
    assert usual.cause == "window"
    assert [event.cause for event in of(log, K.TRANSPORT_LOST, role="server")] == ["close_4100", "close_4001"]


def test_messages_beyond_the_rate_are_delayed_and_none_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """A client probes ten times at once where one message per second may be sent after a burst of five."""
    sent, read = range(100, 110), list[int]()  # the client's own probes have the first numbers
    sound = ModelServerDriver.take

    def take(self: ModelServerDriver, connection: Any, machine: Any, message: ClientMessage) -> None:  # noqa: ANN401
        if isinstance(message, Probe) and message.id in sent:
            read.append(message.id)
        sound(self, connection, machine, message)

    monkeypatch.setattr(ModelServerDriver, "take", take)

    def probe_later(system: ModelSystem) -> None:
        def probe() -> None:
            connection = only_connection(system)
            for number in sent:
                system.driver.receive(connection, Probe(number))

        system.environment.at(8.0, lambda _: probe())

    server = ServerConfig(message_rate=1.0, message_burst=5)
    _, log = system_of(experiment(server=server, duration=30.0), prepare=probe_later)
    delayed = [event for event in of(log, K.MESSAGE_DELAYED) if (event.value or 0.0) > 0.1]  # less: bytes of the burst
    assert [event.t for event in delayed[:5]] == pytest.approx([8.0 + i for i in range(5)], abs=0.05)
    assert all(event.value == pytest.approx(1.0, abs=0.01) for event in delayed[:5])
    assert read == list(sent)


def test_messages_that_wait_end_with_their_connection() -> None:
    def probe_and_cut(system: ModelSystem) -> None:
        def probe() -> None:
            connection = only_connection(system)
            for number in range(50):
                system.driver.receive(connection, Probe(number))

        system.environment.at(8.0, lambda _: probe())
        system.environment.at(10.5, lambda _: system.links["a"].link.cut())

    server = ServerConfig(message_rate=1.0, message_burst=5)
    system, log = system_of(experiment(server=server, duration=30.0), prepare=probe_and_cut)
    assert len([event for event in of(log, K.MESSAGE_DELAYED) if (event.value or 0.0) > 0.1]) == 3
    assert len(of(log, K.SESSION_RESTORED)) == 1
    assert system.driver._machines.count == 1


def test_a_restarted_server_counts_its_own_connections() -> None:
    """What the killed process had open does not fill the next one."""

    def kill(system: ModelSystem) -> None:
        system.environment.at(5.0, lambda _: system.driver.kill())
        system.environment.at(5.0, lambda _: system.links["a"].link.upstream_died())
        system.environment.at(6.0, lambda _: system.driver.start())

    plan = experiment(clients=3, server=ServerConfig(max_connections=3), duration=30.0)
    system, log = system_of(plan, prepare=kill)
    assert len(of(log, K.SESSION_RESTORED)) == 3
    assert not of(log, K.JOIN_SHED)
    assert system.driver._machines.count == 3


@pytest.mark.parametrize("started_again", [False, True])
def test_a_message_that_reaches_a_killed_process_has_no_effect(started_again: bool) -> None:
    """Neither on that process, whose store it would reach, nor on the next one, which has its own connections."""
    committed: list[int] = []

    def kill_and_say(system: ModelSystem) -> None:
        driver = system.driver

        def say() -> None:
            connection = only_connection(system)
            driver.kill()
            if started_again:
                driver.start()
                driver._listen(driver.incarnation)
            committed.append(driver.room._commits._ticket)
            driver.receive(connection, Leave())
            committed.append(driver.room._commits._ticket)

        system.environment.at(8.0, lambda _: say())

    _, log = system_of(experiment(duration=20.0), prepare=kill_and_say)
    assert committed[0] == committed[1]
    assert not of(log, K.SESSION_LEFT)


def test_a_server_that_is_killed_in_the_middle_of_a_broadcast_sends_no_more_frames() -> None:
    """300 frames take 6 ms; the process ends after 0.1 ms of them, and so do its connections."""

    def kill_in_broadcast(system: ModelSystem) -> None:
        driver, link, room = system.driver, system.links["a"].link, system.driver.room

        def kill() -> None:
            driver.kill()
            link.upstream_died()
            system.environment.at(system.environment.now + 1.0, lambda _: driver.start())

        def look(now: float) -> None:
            if room.game.phase is Phase.QUESTION:
                system.environment.at(now + 0.0001, lambda _: kill())
            else:
                system.environment.at(now + 0.0001, lambda _: look(now + 0.0001))

        system.environment.at(1.0, lambda _: look(1.0))

    _, log = system_of(experiment(clients=300, quiz=LIVELY, duration=20.0, ramp=0.5), prepare=kill_in_broadcast)
    opened = of(log, K.QUESTION_OPENED)[0].t
    lost = of(log, K.TRANSPORT_LOST, role="client")
    assert len(lost) == 300
    assert all(opened < event.t < opened + 0.002 for event in lost)
    assert len(of(log, K.SESSION_RESTORED)) == 300
