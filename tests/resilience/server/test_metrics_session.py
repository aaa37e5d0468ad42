"""The numbers are checked against the event log of a real server to which everything happens, and against its rooms."""

from __future__ import annotations

from collections.abc import Mapping

from resilience.eventlog.vocabulary import Lane, LogEventKind, Role
from resilience.protocol.states import ConnectionState
from resilience.runtime import log_to, tee
from resilience.server.app import QuizServer
from resilience.server.metrics import Metrics
from tests.support.virtual_server import VirtualServerHarness, play

from .metrics_oracle import Samples, assert_agrees
from .scenario_all_events import HAPPENS, SECRETS, FullScenario


def people(shown: Mapping[str, Samples]) -> dict[str, float]:
    """Participants by state, as exposed."""
    return {dict(labels)["state"]: value for (_, labels), value in shown["quiz_participants"].items()}


def total(shown: Mapping[str, Samples], family: str) -> float:
    """All samples of a counter together."""
    return sum(shown[family].values())


def truth(app: QuizServer) -> dict[str, int]:
    """Participants by state, counted from the sessions themselves."""
    sessions = [session for hub in app.hubs.values() for session in hub.room.sessions.values()]
    return {state.value: sum(session.state is state for session in sessions) for state in ConnectionState}


def test_the_numbers_of_a_whole_scenario_are_those_of_its_log() -> None:
    metrics = Metrics()

    async def script(harness: VirtualServerHarness) -> None:
        to_log = log_to(harness.log, Lane.VIRTUAL, Role.SERVER, "server")
        scenario = FullScenario(harness, tee(metrics.record, to_log), metrics)
        await scenario.play()
        shown = assert_agrees(metrics, harness.log)
        assert people(shown) == truth(scenario.app)
        assert people(shown)["connected"] == 2
        assert total(shown, "quiz_connections") == len(scenario.app._gateway.peers) == 2
        assert shown["quiz_commit_rows"]["quiz_commit_rows_count", frozenset()] > 5
        assert shown["quiz_loop_lag_seconds"]["quiz_loop_lag_seconds_count", frozenset()] > 100
        await scenario.end()
        ended = assert_agrees(metrics, harness.log)
        assert total(ended, "quiz_draining") == 1
        assert total(ended, "quiz_connections") == 0

    harness = play(script)
    happened = {event.kind for event in harness.log if event.role is Role.SERVER}
    assert happened >= HAPPENS, HAPPENS - happened
    body = metrics.exposition()[1].decode()
    assert not [secret for secret in SECRETS if secret in body]
    outcomes = {event.outcome for event in harness.events(LogEventKind.SESSION_RESUMED)}
    assert outcomes == {"resumed", "rejoined"}
    assert {event.cause for event in harness.events(LogEventKind.RESUME_REFUSED)} == {"unknown", "retired"}
    causes = {event.cause for event in harness.events(LogEventKind.CONNECTION_REFUSED)}
    assert causes >= {"origin", "event", "late", "strikes", "key"}
    assert {event.cause for event in harness.events(LogEventKind.JOIN_SHED)} == {"full", "draining"}
