"""Between the tiers: who becomes explicit with which state, and when and how it is handed back."""

from __future__ import annotations

from typing import SupportsFloat

from resilience.policy.failure_detectors import ServerFailureDetector
from resilience.units import Instant

from ..profiles.timelines import TICK_S
from .connection import Connection, State
from .explicit import ExplicitParticipant
from .population import EpisodeOutcome
from .requests import Requests
from .retries import NOT_YET
from .rules import SETTLE_S
from .server_world import World
from .state import Mode, States


class Handover:
    """Hands participants over and back. ``window_end``: outages before it have been begun by the batch tier."""

    def __init__(self, world: World, states: States) -> None:
        self._world, self._states = world, states
        self.window_end: Instant = 0.0

    def take_steady(self, who: int, row: int, pings: float, last_ping: Instant) -> None:
        """A steady participant, whose outage ``row`` begins: from a ping before it, or from its origin."""
        states, rules = self._states, self._world.rules
        participant = self._take(who, self._first_row(who, row, pings, last_ping))
        start = float(self._world.population.timelines.start[row])
        connection = participant.connection = Connection()
        connection.server = participant.session.ready = True
        participant.state = State.OPEN
        if last_ping + 2 * participant.link.latency >= start:  # its pong is under way
            pings, last_ping = pings - 1, last_ping - rules.heartbeat.interval
        origin = float(states.origin[who])
        if pings >= 1:
            first = heard = last_ping
            participant.watch_server(heard)
        else:
            first = float(states.ping[who])
            heard = min(origin, first + participant.link.latency)
            participant.watch_server(heard)
            participant.hear_at(connection, origin)
            participant.session.hear_at(connection, float(states.heard[who]))
            if states.resent[who]:
                participant.quiz.resume_resent(heard, connection, origin)
        participant.quiz.resume_steady(heard, connection, origin)
        participant.session.watch(ServerFailureDetector(rules.heartbeat, min(heard, first), first), connection)
        participant.watch_outages(start)
        participant.session.watch_standstills(start)
        self._world.episodes.outcome[row] = EpisodeOutcome.RODE_THROUGH
        self._plan(participant, float(self._world.population.timelines.end[row]) + SETTLE_S)

    def take_returning(self, request: Requests, dialled: Instant) -> None:
        """A participant that backs off until ``dialled``, with the incident of this request."""
        participant = self._take(int(request["who"]), int(request["outage"]))
        retry = participant.retry
        retry.attempt, retry.lost_at, retry.up_since = int(request["attempt"]), float(request["lost"]), None
        retry.previous, retry.free_wait = _known(request["previous"]), _wait(request["waited"])
        participant.dials = int(request["dials"])
        participant.touched = participant.episode = int(request["outage"])
        participant.session.expect_silence(float(request["grace_ends"]), float(request["expires"]))
        began = float(self._world.population.timelines.start[participant.episode])
        participant.quiz.resume_away(dialled, began)
        participant.watch_outages(began + TICK_S)
        participant.session.watch_standstills(began + TICK_S)
        participant.dial_at(dialled)

    def _first_row(self, who: int, row: int, pings: float, last_ping: Instant) -> int:
        """The first outage that something can meet which is sent from the ping before ``last_ping``, or the origin."""
        timelines, states = self._world.population.timelines, self._states
        from_ping = last_ping - self._world.rules.heartbeat.interval
        since = from_ping if pings >= 2 else min(float(states.origin[who]), float(states.ping[who]))  # noqa: PLR2004
        first = int(timelines.ptr[who])
        return first + int(timelines.end[first:row].searchsorted(since))

    def _take(self, who: int, first_row: int) -> ExplicitParticipant:
        states = self._states
        states.mode[who] = Mode.EXPLICIT
        participant = ExplicitParticipant(who, self._world, self._opened, first_row)
        participant.session.connection_no = int(states.connection_no[who])
        retry = participant.retry
        retry.incident, retry.attempt = int(states.incident[who]), int(states.attempt[who])
        retry.lost_at, retry.up_since = float(states.lost[who]), float(states.restored[who])
        retry.previous, retry.free_wait = _known(states.previous[who]), _wait(states.waited[who])
        return participant

    def _opened(self, participant: ExplicitParticipant, now: Instant) -> None:
        self._plan(participant, now + SETTLE_S)

    def _plan(self, participant: ExplicitParticipant, at: Instant) -> None:
        self._world.queue.add(at, participant.who, self._settle, participant)

    def _settle(self, now: Instant, participant: ExplicitParticipant) -> None:
        """Hand back who is open, with nothing under way, at a server that runs, and whose next outage has not begun."""
        if participant.state is not State.OPEN:
            return  # its return makes another plan
        down = [outage.end for outage in participant.link.outages if outage.start <= now <= outage.end]
        down += [each.end for each in self._world.standstills if each.start <= now <= each.end]
        if down:
            self._plan(participant, max(down) + SETTLE_S)
            return
        begun = [outage for outage in participant.link.outages if now < outage.start < self.window_end]
        if begun:
            self._plan(participant, begun[0].end + SETTLE_S)
        elif participant.under_way or not participant.quiz.is_steady:
            self._plan(participant, now + SETTLE_S / 4)
        else:
            self._hand_back(participant)

    def _hand_back(self, participant: ExplicitParticipant) -> None:
        states, who, retry, session = self._states, participant.who, participant.retry, participant.session
        if session.detector is None:
            raise AssertionError("an open client without a server")
        states.mode[who] = Mode.STEADY
        states.origin[who], states.heard[who] = participant.client.last_heard, session.detector.last_heard
        states.ping[who] = session.detector.next_deadline()
        states.incident[who], states.connection_no[who] = retry.incident, session.connection_no
        states.attempt[who], states.lost[who] = retry.attempt, retry.lost_at
        states.previous[who] = NOT_YET if retry.previous is None else retry.previous
        states.waited[who] = NOT_YET if retry.free_wait is None else retry.free_wait[1] - retry.free_wait[0]
        states.restored[who] = retry.up_since
        states.resent[who] = False
        participant.hand_back()


def _known(seconds: SupportsFloat) -> float | None:
    return None if float(seconds) < 0 else float(seconds)


def _wait(seconds: SupportsFloat) -> tuple[Instant, Instant] | None:
    """A free wait of this length; when it began does not matter any more."""
    return None if float(seconds) < 0 else (0.0, float(seconds))
