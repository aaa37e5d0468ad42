"""The explicit tier: every ping, pong, probe, reply, dial and timer of one participant is an event.

The production objects decide: ``RetryState``, both failure detectors, the station's admission. For a whole population
it is the oracle; the batch tier hands it the few participants for whom its arithmetic promises nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from resilience.policy.backoff import RetryState
from resilience.policy.failure_detectors import (
    LAG_TOLERANCE_S,
    ClientFailureDetector,
    LivenessAction,
)
from resilience.protocol.client.connection import SLEEP_THRESHOLD_S
from resilience.random_streams import uniform
from resilience.units import Instant, Seconds

from ..profiles.timelines import OutageKind
from .connection import Connection, Delivery, Receive, State
from .jitter import NO_DEVIATIONS, deviations
from .link import Link
from .population import EpisodeOutcome
from .quiz_player import QuizPlayer
from .rules import tick
from .server_world import World
from .session import ExplicitSession

LONG_AGO: Instant = -1e9
"""When the sessions began with which a run starts."""

_QUIET = frozenset((OutageKind.SILENT, OutageKind.FROZEN))
"""Outages that end no connection."""

_WAITING = frozenset((State.BACKING_OFF, State.DIALLING, State.JOINING))
"""A client that waits until its one deadline."""


class ExplicitParticipant:
    """One client, its ``session`` at the server, and what is under way. An outage is a row of the timelines.

    ``touched`` is the last outage that began while the client was open, ``episode`` the one that it returns from; -1
    without one. ``opened`` is called at each return. What was before the outage ``first_row`` does not matter any more.
    """

    def __init__(
        self,
        who: int,
        world: World,
        opened: Callable[[ExplicitParticipant, Instant], None],
        first_row: int | None = None,
    ) -> None:
        timelines = world.population.timelines
        self.who, self.world, self._on_open = who, world, opened
        self.first_row = int(timelines.ptr[who]) if first_row is None else first_row
        self.link = Link(timelines.of_participant(who, self.first_row), float(world.population.latency[who]))
        self._seed = int(world.population.seeds[who])
        self.state, self.retry = State.OPEN, RetryState(world.rules.client.backoff)
        self.connection: Connection | None = None
        self.client = ClientFailureDetector(world.rules.client.probe, 0.0)
        self.session = ExplicitSession(self)
        self.dials = 0
        self.touched = self.episode = -1
        self.quiz = QuizPlayer(self, world.rules.quiz)
        self.under_way = 0
        self.is_suspended = False
        self._unread: list[tuple[Callable[[Instant, Any], None], Any]] = []
        self._deadline: Instant = 0.0
        self._client_timer: Instant | None = None
        self._dialled_at: Instant = 0.0
        self._jitter = 0.0 if world.population.jitter is None else float(world.population.jitter[who])
        self.deviations = NO_DEVIATIONS

    # beginnings -------------------------------------------------------------------------------------------------------

    def start_attached(self) -> None:
        """A session that has lasted for long, at instant 0."""
        self.retry.lost(0.0)
        self.retry.restored(LONG_AGO)
        connection = Connection()
        connection.server = True
        self.connection = connection
        self.session.watch_standstills(-math.inf)
        self.session.attach(0.0, connection)
        self.session.ready = True
        self.watch_server(0.0)
        self.quiz.attend(0.0)
        self.watch_outages(0.0)

    def watch_outages(self, now: Instant) -> None:
        """Let every outage that begins ``now`` or later strike, and the suspension that holds now end."""
        for index, outage in enumerate(self.link.outages):
            if outage.kind == OutageKind.SUSPENDED and outage.start < now < outage.end:
                self._suspend(outage.end)
            if outage.start >= now:
                self.at(outage.start, self._goes_down, index)
                return

    def watch_server(self, last_heard: Instant) -> None:
        """The client is open and heard from its server at this instant."""
        self.client = ClientFailureDetector(self.world.rules.client.probe, last_heard)
        self._client_timer = None
        self._set_client_timer()

    def dial_at(self, at: Instant) -> None:
        """The client backs off until then."""
        self.state, self._deadline = State.BACKING_OFF, at
        self.at(at, self._dial)

    @property
    def is_handed_back(self) -> bool:
        """Whether the batch tier carries it again."""
        return self.state is State.HANDED_BACK

    def hand_back(self) -> None:
        """Leave the participant to the batch tier: what is still to come for it here changes nothing."""
        self.state, self.connection, self._client_timer = State.HANDED_BACK, None, None
        self.session.hand_back()

    # the link ---------------------------------------------------------------------------------------------------------

    def at(self, at: Instant, act: Callable[[Instant, Any], None], argument: object = None) -> None:
        """Call ``act`` at this instant."""
        self.world.queue.add(at, self.who, act, argument)

    def draw(self, purpose: str, one: int, other: int) -> float:
        """This participant's uniform number of this address."""
        return uniform(self._seed, purpose, one, other)

    def _goes_down(self, now: Instant, index: int) -> None:
        if self.is_handed_back:
            return
        if index + 1 < len(self.link.outages):
            self.at(self.link.outages[index + 1].start, self._goes_down, index + 1)
        if self.state is State.OPEN:
            self.touched = self.first_row + index
            self.world.episodes.outcome[self.touched] = EpisodeOutcome.RODE_THROUGH
        outage = self.link.outages[index]
        if outage.kind == OutageKind.TORN:
            self.at(outage.end, self._tear)
        elif outage.kind == OutageKind.SUSPENDED:
            self._suspend(outage.end)
        elif outage.kind not in _QUIET and self.connection is not None:
            self._cut(now, self.connection, self.world.rules.advice if outage.kind == OutageKind.DEPLOY else None)

    def _tear(self, now: Instant, _: object) -> None:
        """Every connection that is there when a torn link works again has lost bytes."""
        self.session.tear(now, self.connection)
        if self.connection is not None:
            self._cut(now, self.connection, None)

    def _cut(self, now: Instant, connection: Connection, advice: Seconds | None) -> None:
        """Both ends see the connection end; a server that ends in order gives ``advice`` in its close."""
        if connection.server:
            self.session.lose(now, connection)
        if not connection.client:
            return
        if self.state is State.OPEN:
            connection.client = False
            self._lose(now, advice)
        elif self.state is State.JOINING or (self.state is State.DIALLING and connection.requested):
            self._drop()
            self._try_again(now, advice)

    def send(  # noqa: PLR0913 - a message
        self,
        now: Instant,
        connection: Connection,
        receive: Receive,
        what: object,
        *,
        up: bool,
        late: Seconds = 0.0,
    ) -> None:
        """Send ``what`` to the server (``up``) or to the client, whose ``receive`` gets it if it arrives.

        ``late``: by how much its trip is longer than usual.
        """
        passage = self.link.passage(now)
        if passage is not None:
            self.under_way += 1
            self.at(passage.at + late, self._arrive, Delivery(connection, receive, what, up, passage.held))

    def deliver(self, at: Instant, connection: Connection, receive: Receive, what: object, *, up: bool) -> None:
        """Let what is under way already arrive at this instant."""
        self.under_way += 1
        self.at(at, self._arrive, Delivery(connection, receive, what, up, held=False))

    def _arrive(self, now: Instant, message: Delivery) -> None:
        connection, receive, what, up, held = message
        if up and self.session.is_done_later(now, self._arrive, message):
            return
        if self.is_suspended and not up:
            self._unread.append((self._arrive, message))
            return
        self.under_way -= 1
        sender, receiver = (connection.client, connection.server) if up else (connection.server, connection.client)
        if receiver and (sender or not held):
            receive(now, connection, what)

    # the client -------------------------------------------------------------------------------------------------------

    def _set_client_timer(self) -> None:
        at = self.client.next_deadline()
        if self._client_timer is None or at < self._client_timer:
            self._client_timer = at
            self.at(at, self._client_wakes, at)

    def _client_wakes(self, now: Instant, meant: Instant) -> None:
        if meant != self._client_timer:
            return
        self._client_timer = None
        if self.state is State.OPEN and not self.is_suspended:
            self._check_silence(now)

    def _check_silence(self, now: Instant) -> None:
        connection = self.connection
        if connection is None:
            return
        due = self.client.due(now)
        if due is LivenessAction.DEAD:
            connection.client = False
            self._tell_server(now, connection)
            self._lose(now)
            return
        if due is LivenessAction.PROBE:
            self._probe(now, connection)
        self._set_client_timer()

    def _probe(self, now: Instant, connection: Connection) -> None:
        self.send(now, connection, self.session.hear, "probe", up=True)

    def _tell_server(self, now: Instant, connection: Connection) -> None:
        """The client's end is closed; over a link that is down nothing of that arrives."""
        arrives = self.link.close_passage(now)
        if connection.server and arrives is not None:
            self.at(arrives, self.session.is_told, connection)

    def is_told(self, now: Instant, connection: Connection) -> None:
        """The server has ended this connection."""
        if self.is_suspended:
            self._unread.append((self.is_told, connection))
            return
        if not connection.client or connection is not self.connection:
            return
        connection.client = False
        if self.state is State.OPEN:
            self._lose(now)
        elif self.state is State.JOINING:
            self._drop()
            self._try_again(now)

    def is_pinged(self, now: Instant, connection: Connection, _: object) -> None:
        """A ping arrives."""
        if self.is_open(connection):
            self.client.heard(now)
            self.send(now, connection, self.session.hear, "pong", up=True)

    def hear_at(self, connection: Connection, at: Instant) -> None:
        """What was under way when this tier took over arrives then."""
        self.deliver(at, connection, self._client_hears, None, up=False)

    def _client_hears(self, now: Instant, connection: Connection, _: object) -> None:
        if self.is_open(connection):
            self.client.heard(now)

    def is_answered(self, now: Instant, connection: Connection, _: object) -> None:
        """The reply to a probe arrives."""
        if self.is_open(connection):
            self.client.heard(now)
            self.client.answered(now, owing=bool(self.quiz.pending))

    def is_open(self, connection: Connection) -> bool:
        """Whether the client's session is open over this connection."""
        return self.state is State.OPEN and connection is self.connection

    def ask(self, now: Instant) -> None:
        """The client has sent what the server must reply to."""
        self.client.asked(now)
        self._set_client_timer()

    def _lose(self, now: Instant, advice: Seconds | None = None) -> None:
        self.connection, self.dials = None, 0
        self.episode = self.touched
        if self.episode >= 0:
            self.world.episodes.detected[self.episode] = now
        self.retry.lost(now)
        self._try_again(now, advice)

    def _drop(self) -> None:
        if self.connection is not None:
            self.connection.client = False
        self.connection = None

    def _try_again(self, now: Instant, advice: Seconds | None = None) -> None:
        retry = self.retry
        u = self.draw("backoff", retry.incident, retry.attempt + 1)
        again = retry.next(now, u, self.world.rules.window, advice)
        if again is not None:
            self.dial_at(now + tick(again.delay))
            return
        self.state = State.GAVE_UP
        if self.episode >= 0:
            self._close_episode(EpisodeOutcome.GAVE_UP, now)

    def _close_episode(self, outcome: EpisodeOutcome, now: Instant) -> None:
        episodes, row = self.world.episodes, self.episode
        episodes.ended[row] = now
        episodes.outcome[row], episodes.attempts[row], episodes.dials[row] = outcome, self.retry.attempt, self.dials

    # a suspension -----------------------------------------------------------------------------------------------------

    def _suspend(self, until: Instant) -> None:
        self.is_suspended = True
        self.at(until, self._continues)

    def _continues(self, now: Instant, _: object) -> None:
        """The client was suspended: it reads what has arrived, in order; then its timers ring."""
        self.is_suspended = False
        unread, self._unread = self._unread, []
        for read, what in unread:
            talks = isinstance(what, Delivery) and what.connection is self.connection
            is_late = talks and self._lateness(now) > LAG_TOLERANCE_S
            read(now, what)
            if is_late and self.state is State.OPEN and self.connection is not None:
                if self.client.suspect(now) is LivenessAction.PROBE:
                    self._probe(now, self.connection)
                self._set_client_timer()
        self.quiz.answer_due(now)
        lateness = self._lateness(now)
        if lateness >= 0:
            self._ring(now, lateness)
        if self.state is State.OPEN:
            self._set_client_timer()

    def _lateness(self, now: Instant) -> Seconds:
        """By how much the deadline of the client has passed; negative before it, and without one."""
        if self.state is State.OPEN:
            return now - self.client.next_deadline()
        return now - self._deadline if self.state in _WAITING else -math.inf

    def _ring(self, now: Instant, lateness: Seconds) -> None:
        """A timer rings that is late: a dial that it would end is replaced by another one if the client slept."""
        slept = lateness > SLEEP_THRESHOLD_S
        if slept:
            self.retry.exclude_sleep(lateness)
        if self.state is State.OPEN:
            self._check_silence(now)
        elif self.state is State.BACKING_OFF:
            self._dial(now, None)
        elif self.connection is not None and slept:
            self._tell_server(now, self.connection)
            self._drop()
            self.state = State.BACKING_OFF
            self._dial(now, None)
        elif self.connection is not None:
            self._time_out(now, (self.connection, self.state))

    # a dial -----------------------------------------------------------------------------------------------------------

    def _dial(self, now: Instant, _: object) -> None:
        if self.state is not State.BACKING_OFF or self.is_suspended:
            return
        self.state, self._dialled_at = State.DIALLING, now
        self.dials += 1
        self.deviations = deviations(self._seed, self.retry.incident, self.dials, self._jitter)
        connection = self.connection = Connection()
        self._deadline = now + self.world.rules.client.open_timeout
        self.at(self._deadline, self._time_out, (connection, State.DIALLING))
        self._knock(connection, 0)

    def _knock(self, connection: Connection, packet: int) -> None:
        """Send this first packet of the dial, and the later ones while none is answered."""
        for number, offset in enumerate(self.world.rules.syn_times):
            knock = self.link.knock(self._dialled_at + offset) if number >= packet else None
            if knock is None:
                continue
            connection.packet = number
            if knock.arrives:
                arrival = knock.at + self.deviations.request
                self.world.queue.add(arrival, self.who, self.session.request, connection, is_request=True)
            else:
                self.at(knock.at, self._dial_fails, connection)
            return

    def knock_again(self, connection: Connection) -> None:
        """The server has dropped the first packet of this dial."""
        if connection.client:
            self._knock(connection, connection.packet + 1)

    def _dial_fails(self, now: Instant, connection: Connection) -> None:
        if self.is_suspended:
            self._unread.append((self._dial_fails, connection))
            return
        if connection is self.connection and self.state is State.DIALLING:
            self._drop()
            self._try_again(now)

    def _time_out(self, now: Instant, dial: tuple[Connection, State]) -> None:
        """End the dial of this connection if it has come no further than this state."""
        connection, state = dial
        if connection is self.connection and self.state is state and not self.is_suspended:
            self._tell_server(now, connection)
            self._drop()
            self._try_again(now)

    def response_deadline(self) -> Instant:
        """A response that leaves at this instant, or later, is too late for the dial."""
        return self._dialled_at + self.world.rules.client.open_timeout - self.link.latency - self.deviations.response

    def service_time(self) -> Seconds | None:
        """How long the server works on the request of this dial; ``None`` for the mean of all."""
        station = self.world.station
        if not station.services_vary:
            return None
        return station.services([self.draw("service", self.retry.incident, self.dials)])[0]

    def is_rejected(self, now: Instant, connection: Connection, advice: Seconds) -> None:
        """The response arrives that rejects the request, with a retry time."""
        if connection is self.connection and self.state is State.DIALLING:
            self._drop()
            connection.server = False
            self._try_again(now, advice)

    def dial_succeeds(self, now: Instant, connection: Connection, _: object) -> None:
        """The response arrives that completes the dial."""
        if connection is self.connection and self.state is State.DIALLING:
            self.state = State.JOINING
            self._deadline = now + self.world.rules.client.join_timeout
            self.at(self._deadline, self._time_out, (connection, State.JOINING))
            self.send(now, connection, self.session.resume, None, up=True, late=self.deviations.resume)

    def restored(self, now: Instant, connection: Connection, message: tuple[bool, Instant]) -> None:
        """The welcome arrives: whether the session had been cleaned up, and when it left the server."""
        late, sent = message
        if connection is not self.connection or self.state is not State.JOINING:
            return
        self.state = State.OPEN
        self.watch_server(now)
        self.retry.restored(now)
        if self.episode >= 0:
            self._close_episode(EpisodeOutcome.RESTORED, now)
            self.world.episodes.cleaned_up[self.episode] = late
        self.send(now, connection, self.session.hear, "stored", up=True)
        self.quiz.return_to(now, connection, sent)
        self._on_open(self, now)
