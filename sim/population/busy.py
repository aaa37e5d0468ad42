"""From an outage's begin to its detection while a quiz is played: signs of life one after the other, for many at once.

Where :mod:`.steady` computes, this module steps: broadcasts, answers and verdicts come between the pings, and each step
is the next event of every participant. A step is as in the explicit tier, with the production rules of both failure
detectors; whatever falls together at one instant is left to that tier. All arrays have one shape; instants are in
seconds on the grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..random_arrays import Keys
from .population import Floats
from .rules import SETTLE_S, PopulationRules
from .steady import Fates, Flags, OutageColumns, Steady, losses_of, pings_before

MOST_STEPS = 64
"""A participant that needs more is left to the explicit tier."""

BUSY_MEMORY = 4
"""From so many pings before the outage the steps may begin."""


@dataclass(frozen=True, eq=False)
class Players:
    """What the quiz needs of participants: the ``seeds`` of their draws, and who ``resent`` answers at its origin."""

    seeds: Keys
    resent: Flags


def is_busy(before: Steady, resent: Flags, start: Floats, rules: PopulationRules) -> Flags:
    """Whether an outage that begins then may find signs of life of the quiz among the last ones."""
    memory = BUSY_MEMORY * rules.heartbeat.interval + SETTLE_S
    return (start < rules.quiz.ends_at + memory) | (resent & (start < before.origin + memory))


def busy_fates(before: Steady, players: Players, outages: OutageColumns, rules: PopulationRules) -> Fates:
    """What :func:`sim.population.steady.fates` decides, for participants of a quiz."""
    anchors = _anchors(before, players, outages.start, rules)
    steps = _Steps(before, players, anchors, outages, rules)
    steps.run()
    silent, losses = outages.silent, losses_of(steps.lost, steps.heard_before, before.latency, outages, rules)
    soon = players.resent & (outages.start < before.origin + SETTLE_S)
    rode = silent & steps.rode
    settled = np.where(rode, np.maximum(steps.settled, outages.end + SETTLE_S), -np.inf)
    doubtful = steps.doubtful | (~rode & (steps.lost >= outages.end))
    entangled = anchors.unknown | soon | (silent & doubtful) | (rode & (outages.next_start < settled))
    entangled |= (outages.torn & steps.doubtful) | outages.suspended | outages.frozen
    after = Steady(steps.client, steps.heard, steps.ping, before.latency)
    return losses.fates(entangled, rode=rode, after=after, pings=anchors.pings, last_ping=anchors.last_ping)


def resends_answers(
    seeds: Keys, latency: Floats, start: Floats, restored: Floats, rules: PopulationRules
) -> npt.NDArray[np.bool_]:
    """Which clients send an answer as soon as they are ``restored`` after an outage that began at ``start``.

    One that was given without a verdict, or that became due meanwhile: to the last question shown before the outage, or
    to the one that is open now.
    """
    quiz = rules.quiz
    shown = quiz.last_opened(start - latency, before=True)
    at = quiz.answers_at(seeds, shown, latency)
    waits = (at <= restored) & (at + 2 * latency + rules.commit >= start)
    sent = restored - latency
    now_open = quiz.last_opened(sent)
    due = quiz.answers_at(seeds, now_open, latency) <= restored
    return waits | (due & (now_open > shown) & (sent < quiz.closed(now_open)))


@dataclass(frozen=True, eq=False)
class _Anchors:
    """Signs of life from which the steps begin: a ping at whose arrival no probe is out, or the origin.

    ``pings``: the number of that ping, 0 for the origin; ``last_ping``: when it was sent; ``at``: when the client heard
    it. ``unknown`` where there is neither near the outage.
    """

    pings: Floats
    last_ping: Floats
    at: Floats
    unknown: Flags


def _anchors(before: Steady, players: Players, start: Floats, rules: PopulationRules) -> _Anchors:
    latency, interval, silence = before.latency, rules.heartbeat.interval, rules.client.probe.silence
    last = pings_before(before, start, interval)
    chosen = np.zeros(len(start))
    for back in range(BUSY_MEMORY - 1):
        number = last - back
        ping = before.ping + interval * number
        arrives = ping + latency
        sign = np.maximum(arrives - interval, _last_of_quiz(before, players, arrives, rules))
        rest = np.mod(arrives - sign, silence + 2 * latency)
        quiet = (rest > 2 * latency) & (rest < silence) & (arrives + latency < start)
        known = (number >= 1) & (arrives - interval >= before.origin + SETTLE_S)
        chosen = np.where((chosen == 0) & quiet & known, number, chosen)
    at_origin = chosen == 0
    last_ping = before.ping + interval * chosen
    far = before.origin + BUSY_MEMORY * interval + SETTLE_S < start
    unknown = at_origin & (far | (start < before.origin + SETTLE_S))
    return _Anchors(chosen, last_ping, np.where(at_origin, before.origin, last_ping + latency), unknown)


def _last_of_quiz(before: Steady, players: Players, at: Floats, rules: PopulationRules) -> Floats:
    """When a client last heard a broadcast or a verdict before these instants; minus infinity for never."""
    quiz, latency = rules.quiz, before.latency
    if not len(quiz.casts):
        return np.full(len(at), -np.inf)
    index = np.searchsorted(quiz.casts, at - latency) - 1
    cast = np.where(index >= 0, quiz.casts[np.maximum(index, 0)] + latency, -np.inf)
    number = quiz.last_opened(at - latency, before=True)
    answered = quiz.answers_at(players.seeds, number, latency)
    verdict = answered + 2 * latency + rules.commit
    return np.maximum(cast, np.where((verdict < at) & (answered > before.origin), verdict, -np.inf))


class _Steps:
    """Every participant's next event, and what it changes. The results are per participant.

    ``lost``: when its client declares the server dead, infinite until then. ``rode``: it is steady at ``settled``, with
    the last signs of life ``client`` and ``heard`` and the next ping ``ping``. ``heard_before``: the server's last sign
    of life before the outage. ``doubtful``: the steps do not tell.
    """

    def __init__(
        self, before: Steady, players: Players, anchors: _Anchors, outages: OutageColumns, rules: PopulationRules
    ) -> None:
        self._rules, self._quiz = rules, rules.quiz
        self._latency, self._start, self._end = before.latency, outages.start, outages.end
        n = len(outages.start)
        origin = anchors.pings == 0
        self.lost, self.settled = np.full(n, np.inf), np.full(n, -np.inf)
        self.rode, self.doubtful = np.zeros(n, np.bool_), np.zeros(n, np.bool_)
        self.client = anchors.at.copy()
        self.heard = np.where(origin, before.heard, anchors.at + before.latency)
        self.heard_before = self.heard.copy()
        self.ping = np.where(origin, before.ping, anchors.last_ping + rules.heartbeat.interval)
        self._probed, self._pressed, self._reply = (np.full(n, np.inf) for _ in range(3))
        self._now, self._shifted = anchors.at, np.zeros(n, np.bool_)
        self._casts = np.append(self._quiz.casts, np.inf)
        self._cast = np.searchsorted(self._quiz.casts, anchors.at - before.latency, side="right")
        self._answer_keys = self._quiz.answer_keys(players.seeds)
        self._begin_answers(before, players, origin)
        self._torn_at = np.where(outages.torn, outages.end, np.inf)
        self._released_at = np.where(outages.torn, np.inf, outages.end)
        self._works_at = np.where(outages.torn, np.inf, outages.end + before.latency)
        everyone = np.arange(n)
        self._ping_at = self._arrival(self.ping, everyone)
        self._cast_at = self._arrival(self._casts[self._cast], everyone)
        self._live = np.flatnonzero((outages.silent | outages.torn) & ~anchors.unknown)

    def _begin_answers(self, before: Steady, players: Players, origin: Flags) -> None:
        """The answer that is still to come, or whose verdict is."""
        now, latency, commit = self._now, self._latency, self._rules.commit
        number = self._quiz.last_opened(now - latency)
        at = self._quiz.answers_at(players.seeds, number, latency)
        at = np.where(at > before.origin, at, np.inf)
        owed = (at <= now) & (at + 2 * latency + commit > now)
        sent = np.where(owed, at, np.where(players.resent & origin, before.origin, np.inf))
        self._plan = np.where(at > now, at, np.inf)
        self._asked, self._verdict = sent, sent + 2 * latency + commit
        at_server = np.where(sent + latency < self._start, sent + latency, -np.inf)
        self.heard, self.heard_before = np.maximum(self.heard, at_server), np.maximum(self.heard_before, at_server)

    def run(self) -> None:
        """Step until everything is known of everyone."""
        for _ in range(MOST_STEPS):
            if not len(self._live):
                return
            self._step()
        self.doubtful[self._live] = True

    def _arrival(self, sent: Floats, rows: npt.NDArray[np.int64]) -> Floats:
        latency = self._latency[rows]
        held = (sent + latency >= self._start[rows]) & (sent < self._end[rows])
        return np.where(held, self._released_at[rows], sent) + latency

    def _step(self) -> None:
        rows, probe = self._live, self._rules.client.probe
        probed, pressed, asked = self._probed[rows], self._pressed[rows], self._asked[rows]
        at_ping, at_cast, before = self._ping_at[rows], self._cast_at[rows], self._now[rows]
        answer, verdict, reply = self._plan[rows], self._verdict[rows], self._reply[rows]
        unprobed, unpressed = np.isinf(probed), np.isinf(pressed)
        asks = np.minimum(
            np.where(unprobed, self.client[rows] + probe.silence, np.inf),
            np.where(unpressed, asked + probe.silence, np.inf),
        )
        dead = np.minimum(probed, pressed) + probe.deadline
        dead = np.minimum(dead, self._torn_at[rows])
        sign = np.minimum(np.minimum(at_ping, at_cast), np.minimum(verdict, reply))
        timer = np.minimum(asks, dead)
        now = np.minimum(np.minimum(sign, timer), answer)
        idle = unprobed & np.isinf(asked) & np.isinf(reply) & ~self._shifted[rows]
        settled = idle & (before >= self._works_at[rows]) & (now > before)
        doubtful = ~settled & ((sign == timer) | ((answer == now) & ((answer == sign) | (answer == timer))))
        lost = ~settled & ~doubtful & (dead == now)
        self.settled[rows[settled]], self.rode[rows[settled]] = before[settled], True
        self.lost[rows[lost]] = dead[lost]
        self.doubtful[rows[doubtful]] = True
        live = ~(settled | doubtful | lost)
        self._live, now = rows[live], now[live]
        self._now[self._live] = now
        self._tell(now, at_ping[live] == now, at_cast[live] == now, verdict[live] == now, reply[live] == now)
        answers, probes = answer[live] == now, asks[live] == now
        rows = self._live
        self._answer(rows[answers], now[answers])
        self._ask(rows[probes], now[probes])
        self._live = rows[~self.doubtful[rows]]

    def _tell(self, now: Floats, ping: Flags, cast: Flags, verdict: Flags, reply: Flags) -> None:
        """The client hears something."""
        rows, told = self._live, ping | cast | verdict | reply
        self.client[rows[told]] = np.maximum(self.client[rows[told]], now[told])
        self._probed[rows[told]] = np.inf
        mine = rows[ping]
        self.ping[mine] += self._rules.heartbeat.interval
        self._ping_at[mine] = self._arrival(self.ping[mine], mine)
        self._server_hears(mine, now[ping])
        mine = rows[reply]
        self._reply[mine], self._pressed[mine] = np.inf, np.inf
        self._asked[mine] = np.where(np.isfinite(self._asked[mine]), now[reply], np.inf)
        mine = rows[verdict]
        self._verdict[mine], self._pressed[mine], self._asked[mine] = np.inf, np.inf, np.inf
        self._show(rows[cast], now[cast])

    def _show(self, rows: npt.NDArray[np.int64], now: Floats) -> None:
        """A broadcast, which may open a question."""
        if not len(rows):
            return
        index = self._cast[rows]
        self._cast[rows] = index + 1
        self._cast_at[rows] = self._arrival(self._casts[index + 1], rows)
        number = self._quiz.question[index]
        opens = number >= 0
        rows, now, index = rows[opens], now[opens], index[opens]
        delay = self._quiz.delays_of(self._answer_keys.take(rows), number[opens])
        late = now > self._quiz.casts[index] + self._latency[rows]
        answers = np.isfinite(delay)
        rows = rows[answers]
        self._plan[rows], self._shifted[rows] = (now + delay)[answers], late[answers]

    def _answer(self, rows: npt.NDArray[np.int64], now: Floats) -> None:
        """The client answers a question; two answers without a verdict are left to the explicit tier."""
        self.doubtful[rows] |= np.isfinite(self._asked[rows])
        at_server = self._server_hears(rows, now)
        self._asked[rows], self._plan[rows], self._shifted[rows] = now, np.inf, False
        self._verdict[rows] = self._arrival(at_server + self._rules.commit, rows)

    def _ask(self, rows: npt.NDArray[np.int64], now: Floats) -> None:
        """The client probes; two probes that are out are left to the explicit tier."""
        self.doubtful[rows] |= np.isfinite(self._reply[rows])
        at_server = self._server_hears(rows, now)
        self._probed[rows] = now
        self._pressed[rows] = np.where(np.isfinite(self._asked[rows]), now, self._pressed[rows])
        self._reply[rows] = self._arrival(at_server, rows)

    def _server_hears(self, rows: npt.NDArray[np.int64], sent: Floats) -> Floats:
        """When the server hears what is sent now."""
        at = self._arrival(sent, rows)
        self.heard[rows] = np.maximum(self.heard[rows], at)
        early = np.where(at < self._start[rows], at, -np.inf)
        self.heard_before[rows] = np.maximum(self.heard_before[rows], early)
        return at
