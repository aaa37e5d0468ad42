"""Each failure is planted into the product once, and the test of it finds it: none of them passes whatever happens."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from websockets.exceptions import WebSocketException

from resilience.client import dialling
from resilience.errors import ResilienceError
from resilience.policy.admission import AdmissionController
from resilience.policy.backoff import BackoffPolicy, Preset, RetryState
from resilience.policy.close_codes import RetryClass
from resilience.policy.failure_detectors import ClientFailureDetector, ServerFailureDetector
from resilience.policy.half_open import HalfOpenConnections
from resilience.policy.handshake import HandshakePolicy
from resilience.policy.rate_limits import InputMeter
from resilience.protocol.client import connection
from resilience.protocol.client.connection import ReconnectingConnection
from resilience.protocol.client.participant import ParticipantClient
from resilience.protocol.effects import SendToClient
from resilience.protocol.messages import Answer, Resume, ResumeRejected
from resilience.protocol.server.answers import PendingAnswers
from resilience.protocol.server.attendance import Attendance
from resilience.protocol.server.drain import DrainSettings
from resilience.protocol.server.heartbeats import HeartbeatManager
from resilience.protocol.server.identities import REJOINED, IdentityRegistry
from resilience.protocol.server.presence import PresenceTracker
from resilience.protocol.server.room import Room
from resilience.protocol.server.session import ServerSession
from resilience.protocol.server.tokens import TokenRegistry
from resilience.protocol.states import ClientState
from resilience.protocol.timeouts import TimeoutQueue
from resilience.runtime import RunClock
from resilience.server import event_registry, quiz_connection
from resilience.server.committer import Committer
from resilience.server.database_file import DatabaseFile
from resilience.server.event_registry import EventRegistry
from resilience.server.lag import LoopLag
from resilience.server.quiz_connection import QuizConnection
from resilience.wire.endpoint import Endpoint
from tests.failure_modes import (
    test_answers,
    test_crash,
    test_database,
    test_dials,
    test_fencing,
    test_floods,
    test_half_open,
    test_herd,
    test_identity,
    test_logs,
    test_presence,
    test_stopping,
    test_stream,
    test_time,
)
from tests.resilience.protocol.test_planted_defects import (
    AckBeforeCommit,
    LeakyGameMessages,
    RegisteredLate,
    WithoutRotationGrace,
    WrongSnapshot,
)
from tests.support.virtual_server import SPRING

Plant = Callable[[pytest.MonkeyPatch], None]
FOUND = (AssertionError, ValueError, TimeoutError, WebSocketException, ResilienceError)
NEVER = 1e9


def in_place_of(owner: Any, name: str, broken: Callable[..., Any]) -> Plant:  # noqa: ANN401 - a class or a module
    """``broken`` instead of a method; it is handed the honest one first."""
    honest = getattr(owner, name)

    def plant(patch: pytest.MonkeyPatch) -> None:
        def method(*arguments: Any, **more: Any) -> Any:  # noqa: ANN401 - handed on
            return broken(honest, *arguments, **more)

        patch.setattr(owner, name, method)

    return plant


def value(owner: Any, name: str, broken: Any) -> Plant:  # noqa: ANN401 - any constant
    """Another value of a constant."""
    return lambda patch: patch.setattr(owner, name, broken)


def room(broken: type) -> Plant:
    """Another kind of room."""
    return value(event_registry, "Room", broken)


def both(*plants: Plant) -> Plant:
    """Several at once."""

    def plant(patch: pytest.MonkeyPatch) -> None:
        for each in plants:
            each(patch)

    return plant


def nothing(_: object, *_arguments: object, **_more: object) -> None:
    """Not done at all."""


def always(result: object) -> Callable[..., Any]:
    """The same, whatever was asked."""
    return lambda *_, **__: result


# the defects ----------------------------------------------------------------------------------------------------------

NO_PROBE = in_place_of(ClientFailureDetector, "next_deadline", always(NEVER))
DEAF_TO_DEBTS = in_place_of(
    ClientFailureDetector, "next_deadline", lambda _, self: self._when(self.last_heard, self._probed_at)
)
ONE_STRIKE = in_place_of(ServerFailureDetector, "dead_at", lambda _, self: self.last_heard + 16.0)
STALE_PROBE = both(
    in_place_of(ReconnectingConnection, "_session_opened", lambda _, self, now: self._go(ClientState.OPEN)),
    in_place_of(ClientFailureDetector, "heard", lambda _, self, now: setattr(self, "last_heard", now)),
)


def raises_what_ended_it(lost: Callable[..., None], self: Endpoint, error: Exception | None) -> None:
    """The end of a transport is passed on as an exception."""
    lost(self, error)
    if error is not None:
        raise error


NOISY = both(
    in_place_of(Endpoint, "connection_lost", raises_what_ended_it),
    value(quiz_connection, "_quiet", logging.getLogger("noisy")),
)


def any_end_detaches(_: object, self: ServerSession, connection: int, cause: str, now: float) -> bool:
    """The end of an older connection counts as that of the newest."""
    del connection
    self._detach(cause, now)
    return True


def already_connected(
    honest: Callable[..., Any],
    self: IdentityRegistry,
    message: Any,  # noqa: ANN401
    connection: int,
    now: float,
) -> Any:  # noqa: ANN401
    """A participant that seems to be connected is rejected."""
    arrival = honest(self, message, connection, now)
    if arrival is None or arrival.session.connection is None:
        return arrival
    self._effects.append(SendToClient(connection, ResumeRejected("already connected")))
    return None


def nothing_at_0(honest: Callable[..., Any], self: Room, message: Any, connection: int, now: float) -> None:  # noqa: ANN401
    """While the stream is empty there is no state to restore."""
    if isinstance(message, Resume) and self.seq == 0:
        self._effects.append(SendToClient(connection, ResumeRejected("unknown")))
    else:
        honest(self, message, connection, now)


def by_name(honest: Callable[..., Any], self: IdentityRegistry, message: Any, connection: int, now: float) -> Any:  # noqa: ANN401
    """A name is taken for an identity."""
    known = next((session for session in self.sessions.values() if session.name == message.name), None)
    if known is not None:
        self._unconfirmed[message.instance] = known
    return honest(self, message, connection, now)


def resume_again(_: object, self: ParticipantClient, message: ResumeRejected, now: float) -> None:
    """A rejected token is tried again at once."""
    del message
    self._send_first_message(now)


def forgets_who_waits(
    honest: Callable[..., object], self: PendingAnswers, who: str, answer: Answer, *more: object, **named: object
) -> object:
    """Check, then write: an answer that is being written is not considered."""
    self._pending.pop((who, answer.question), None)
    return honest(self, who, answer, *more, **named)


def never_resent(honest: Callable[..., Any], self: ParticipantClient, *arguments: Any) -> None:  # noqa: ANN401
    """What was sent once is not sent again."""
    pending, self.pending = self.pending, {}
    honest(self, *arguments)
    self.pending = pending


def any_dial(
    honest: Callable[..., Any],
    self: ReconnectingConnection,
    _dial: int,
    *arguments: Any,  # noqa: ANN401
    **more: Any,  # noqa: ANN401
) -> None:
    """An event of an old dial is taken for one of the newest."""
    honest(self, self.dial, *arguments, **more)


def still_rejoined(honest: Callable[..., Any], *arguments: Any) -> Any:  # noqa: ANN401 - handed on
    """Every return is recorded as one after the clean-up."""
    arrival = honest(*arguments)
    if arrival is not None:
        arrival.outcome = REJOINED
    return arrival


def at_once(_: object, self: PresenceTracker) -> float | None:
    """Each change is shown when it is there."""
    return self._earliest if self._waiting else None


def always_free(honest: Callable[..., Any], self: RetryState, *arguments: Any) -> object:  # noqa: ANN401
    """Every advised wait replaces the ladder's delay."""
    self.free_wait = None
    return honest(self, *arguments)


def first_only(found: Any) -> list[str]:  # noqa: ANN401
    """Only the first address of a name is tried."""
    return [found[0][-1][0]]


def reset_at_once(honest: Callable[..., Any], self: RetryState, now: float) -> None:
    """A session that lasted a moment counts as a stable one."""
    self.up_since = None
    honest(self, now)


PLANTED: list[tuple[str, Plant, Callable[[], Any]]] = [
    ("f01", NO_PROBE, partial(test_half_open.test_f01_half_open_both, 15, True)),
    ("f02", DEAF_TO_DEBTS, partial(test_half_open.test_f02_half_open_oneway, "up", True)),
    (
        "f03",
        in_place_of(ServerSession, "transport_lost", any_end_detaches),
        partial(test_fencing.test_f03_late_close_of_old_socket, 1),
    ),
    ("f04", in_place_of(ReconnectingConnection, "transport_lost", any_dial), test_fencing.test_f04_stale_client_events),
    ("f05", ONE_STRIKE, partial(test_time.test_f05_background_tab_throttle, test_time.DEAF)),
    ("f06", NO_PROBE, partial(test_time.test_f06_sleep_wake, 5, False)),
    (
        "f07 restart",
        value(event_registry, "clamp_to_now", lambda progress, _: progress),
        partial(test_time.test_f07_clock_step_across_a_restart, -3600.0, 20.0),
    ),
    (
        "f08",
        in_place_of(HeartbeatManager, "extend_by_lag", nothing),
        partial(test_time.test_f08_server_stall_of_the_server_alone, True),
    ),
    (
        "f08 first message",
        in_place_of(TimeoutQueue, "extend_by_lag", nothing),
        partial(test_time.test_f08_server_stall_of_a_server_with_hosts_and_absentees, True),
    ),
    ("f09", ONE_STRIKE, test_half_open.test_f09_two_strikes),
    ("f10", STALE_PROBE, partial(test_half_open.test_f10_stale_ack_carried_over, 4.5)),
    ("f11", value(connection, "retry_class", always(RetryClass.RETRY)), test_fencing.test_f11_two_tabs_duel),
    (
        "f13",
        in_place_of(IdentityRegistry, "resume", already_connected),
        test_half_open.test_f13_half_open_owner_lockout,
    ),
    ("f14 name", in_place_of(IdentityRegistry, "join", by_name), test_identity.test_f14_token_theft),
    ("f14 retired", in_place_of(TokenRegistry, "_retire", nothing), test_identity.test_f14_token_theft),
    ("f15", room(WithoutRotationGrace), partial(test_identity.test_f15_lost_rotation_reply, "hole", True)),
    ("f16", in_place_of(BackoffPolicy, "delay", always(2.1)), test_herd.test_f16_herd_after_restart),
    ("f17", in_place_of(RetryState, "lost", reset_at_once), test_herd.test_f17_flap_accept_then_close_after_a_welcome),
    (
        "f17 fast",
        in_place_of(BackoffPolicy, "delay", always(0.1)),
        partial(test_herd.test_f17_flap_accept_then_close, Preset.WINDOW, "upstream"),
    ),
    ("f18", in_place_of(AdmissionController, "try_admit", always(None)), test_herd.test_f18_handshake_overload),
    ("f20", in_place_of(DrainSettings, "window", always(0.0)), test_stopping.test_f20_graceful_drain),
    ("f22", in_place_of(ParticipantClient, "_on_welcome", never_resent), partial(test_answers.test_f22_lost_ack, 3.5)),
    (
        "f23",
        in_place_of(ServerSession, "was_absent_at", always(True)),
        partial(test_answers.test_f23_offline_answer_late, 2.0, 11.5, 30.0, 30.0, "rejected_late"),
    ),
    (
        "f24",
        in_place_of(PendingAnswers, "submit", forgets_who_waits),
        test_answers.test_f24_double_submit_race_on_one_socket,
    ),
    ("f25", NO_PROBE, partial(test_stream.test_f25_quiet_gap, "reveal")),
    ("f26", room(RegisteredLate), partial(test_stream.test_f26_snapshot_live_gap, True)),
    (
        "f27",
        in_place_of(Room, "_on_join_or_resume", nothing_at_0),
        test_stream.test_f27_zero_event_resume_at_position_0,
    ),
    ("f28", room(WrongSnapshot), partial(test_identity.test_f28_blank_state_on_rejoin, 2)),
    ("f29", room(AckBeforeCommit), partial(test_crash.test_f29_crash_restart, 2.5)),
    (
        "f30",
        in_place_of(IdentityRegistry, "resume", still_rejoined),
        partial(test_identity.test_f30_sweep_vs_rejoin, -1.0),
    ),
    ("f31", room(LeakyGameMessages), partial(test_stream.test_f31_rejoin_phase_change, "question")),
    (
        "f32",
        in_place_of(PresenceTracker, "next_deadline", at_once),
        partial(test_presence.test_f32_presence_storm, 0.0),
    ),
    (
        "f33",
        in_place_of(ServerFailureDetector, "next_deadline", lambda _, self: self.dead_at()),
        partial(test_time.test_f33_idle_proxy_cut, 30, False),
    ),
    (
        "f40",
        in_place_of(LoopLag, "current", lambda _, self: self.worst(1.0)),
        partial(test_time.test_f40_stall_echo, 15, True),
    ),
    (
        "f41",
        in_place_of(HeartbeatManager, "absent_since", lambda _, self, who: self.last_heard(who)),
        test_answers.test_f41_late_window_take_over,
    ),
    ("f42", in_place_of(Attendance, "forget", nothing), test_presence.test_f42_ghost_joins),
    (
        "f48",
        in_place_of(RetryState, "next", always_free),
        partial(test_dials.test_f48_advice_storm, Preset.CLASSIC, test_dials.respond(503, "0")),
    ),
    ("f36", in_place_of(ParticipantClient, "_rejected", resume_again), test_identity.test_f36_resume_loop),
    (
        "f43 idle",
        in_place_of(Committer, "_ask_again", nothing),
        test_database.test_f43_database_outage_that_leaves_nothing_to_store,
    ),
]


@pytest.mark.parametrize("name, plant, test", PLANTED)
def test_a_planted_failure_is_found(
    name: str, plant: Plant, test: Callable[[], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(FOUND):
        test()


def test_a_recovery_that_is_tried_once_is_found(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    in_place_of(EventRegistry, "_until_answered", lambda _, self, *arguments: self._recover_once(*arguments))(
        monkeypatch
    )
    with pytest.raises(FOUND):
        test_database.test_f43_database_outage_over_a_commit(3.0, caplog, lands=True)


def test_a_file_that_is_not_compared_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    in_place_of(DatabaseFile, "fault", nothing)(monkeypatch)
    with pytest.raises(FOUND):
        test_database.test_f45_deleted_database_file(tmp_path)


def test_a_planted_failure_of_the_clock_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunClock, "now", lambda _: time.time() - SPRING)
    monkeypatch.setattr(time, "time", lambda: SPRING)
    with pytest.raises(FOUND):
        test_time.test_f07_clock_step(3600.0, monkeypatch)


def test_a_planted_failure_of_the_handshake_policy_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    in_place_of(HandshakePolicy, "check", always(None))(monkeypatch)
    with pytest.raises(FOUND):
        test_herd.test_f19_fd_limit(monkeypatch)


def test_a_planted_failure_of_the_buffer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    in_place_of(QuizConnection, "_close_if_still_slow", nothing)(monkeypatch)
    with pytest.raises(FOUND):
        test_stopping.test_f21_slow_consumer(monkeypatch)


@pytest.mark.parametrize("joins", [True, False])
def test_a_planted_failure_of_the_meter_is_found(joins: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    in_place_of(InputMeter, "allowance", always(10**9))(monkeypatch)
    with pytest.raises(FOUND):
        test_floods.test_f38_flood_of_control_frames("pong", joins, monkeypatch)


def test_a_planted_failure_to_make_room_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    in_place_of(HalfOpenConnections, "to_replace", always(None))(monkeypatch)
    with pytest.raises(FOUND):
        test_floods.test_f39_half_handshakes(monkeypatch)


def test_a_planted_traceback_is_found(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    NOISY(monkeypatch)
    with pytest.raises(FOUND):
        test_logs.test_f37_abrupt_log_storm("reset", caplog)


def test_a_planted_theft_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    in_place_of(ServerSession, "_fence", nothing)(monkeypatch)
    with pytest.raises(FOUND):
        test_fencing.test_f12_duplicated_tab_clones_storage(tmp_path)


def test_a_client_that_tries_one_address_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialling, "interleaved", first_only)
    with pytest.raises(FOUND):
        test_dials.test_f49_black_holed_first_address(monkeypatch)
