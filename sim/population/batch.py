"""The batch tier: outages that begin within one window are decided together, as arrays; production policy decides.

A window has two phases. In the first the outages of steady participants are carried to the first request that each
leads to, or to the end of its retry budget. In the second the requests meet the server's one station in the order of
(instant, participant). Whatever the arithmetic of the first phase does not tell goes to the explicit tier, until it is
steady again. Every episode is that of the oracle, bit for bit.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from bisect import bisect_left
from collections.abc import Callable
from typing import NamedTuple, cast

import numpy as np
import numpy.typing as npt

from resilience.policy.failure_detectors import first_ping_at
from resilience.units import Instant

from ..profiles.timelines import OutageKind
from ..random_arrays import keys_under, uniforms
from .busy import BUSY_MEMORY, Players, busy_fates, is_busy, resends_answers
from .frozen_server import frozen_fates
from .handover import Handover
from .jitter import NO_DEVIATIONS, Deviations, DialDeviations
from .ladder import Climbs, Losses, climb
from .oracle import Result
from .population import EpisodeOutcome, Floats, Population, Rows
from .requests import MOST_PARTICIPANTS, REQUEST, RequestQueue, Requests, joined
from .retries import delays, dial_instants, draws, spent
from .rules import SETTLE_S, WINDOW_S, PopulationRules
from .server_world import World
from .state import Mode, States
from .station import Arrivals, StationAnswer
from .steady import Fates, OutageColumns, Steady, fates, has_quiet_pings
from .suspension import suspended_fates


def run_in_batches(population: Population, rules: PopulationRules) -> Result:
    """Carry the participants of one server through the whole run."""
    return BatchTier(population, rules).run()


class _Stretch(NamedTuple):
    """Requests in order, the instants at which their clients leave, and what the station has answered so far."""

    rows: Requests
    until: Floats
    arrivals: Arrivals

    def count_before(self, at: Instant, who: int) -> int:
        """How many of the rows are before ``(at, who)``; those that have entered are."""
        instants = self.arrivals.at
        past = bisect_left(instants, at, len(self.arrivals.answers))
        while past < len(instants) and instants[past] == at and self.rows["who"][past] < who:
            past += 1
        return past


class BatchTier:
    """One server and its participants."""

    def __init__(self, population: Population, rules: PopulationRules) -> None:
        if population.size > MOST_PARTICIPANTS:
            raise ValueError(f"population: one server takes at most {MOST_PARTICIPANTS:,} participants")
        timelines = population.timelines
        self.population = population
        self.world = World.of(rules, population)
        self.rules, self._standstills = self.world.rules, self.world.standstills
        self.episodes = self.world.episodes
        self._owner = timelines.owner
        self._grace_ends = np.full(timelines.outages, np.inf)
        self._order = np.argsort(timelines.start, kind="stable").astype(np.int32)
        self.states = States.attached(self._first_pings(np.arange(population.size), np.zeros(population.size), 1))
        self._regular = has_quiet_pings(population.latency, rules)
        self._requests = RequestQueue()
        self._served: list[tuple[Requests, Floats]] = []
        self._handover = Handover(self.world, self.states)
        tries = rules.syn_times
        repeats = [after - before for before, after in itertools.pairwise(tries)]
        slowest = population.latency if population.jitter is None else population.latency + population.jitter
        self._soonest = min([*repeats, rules.client.open_timeout - tries[-1]]) - 3 * slowest.max(initial=0.0)

    def run(self) -> Result:
        """Carry out one window after the other."""
        starts = self.population.timelines.start[self._order]
        count = math.ceil(self.rules.duration / WINDOW_S)
        cuts = np.searchsorted(starts, np.minimum(np.arange(count + 1) * WINDOW_S, self.rules.duration))
        for window in range(count):
            self._handover.window_end = min((window + 1) * WINDOW_S, self.rules.duration)
            self._begin_outages(self._order[cuts[window] : cuts[window + 1]].astype(np.int64))
            self._requests.open(window)
            self._meet_station(self._handover.window_end)
            self._welcome_served()
        grace_ends = self._standstills.extend_all(self._grace_ends, self.rules.heartbeat.grace)
        self.episodes.grace_ended |= grace_ends < self.rules.duration
        self.episodes.close(self.population.timelines, self.rules)
        return Result(self.episodes, self.world.station, self.world.departures, self.world.queue.done)

    def _first_pings(self, who: Rows, attached: Floats, number: npt.NDArray[np.int32] | int) -> Floats:
        """The first ping of these participants' connections of this number."""
        u = uniforms(keys_under(self.population.seeds[who], "first_ping", number), 0)
        return cast("Callable[..., Floats]", first_ping_at)(u, attached, self.rules.heartbeat.interval)

    def _next_starts(self, rows: Rows) -> Floats:
        """The start of the same participant's next outage; infinite for its last."""
        timelines = self.population.timelines
        following = np.minimum(rows + 1, max(timelines.outages - 1, 0))
        same = (self._owner[following] == self._owner[rows]) & (following > rows)
        return np.where(same, timelines.start[following], np.inf)

    @property
    def array_bytes(self) -> int:
        """The size of all arrays that last for the whole run: population, states, episodes, orders."""
        timelines, own = self.population.timelines, [self._owner, self._grace_ends]
        if timelines.cause is not None:
            own.append(timelines.cause)
        if self.population.jitter is not None:
            own.append(self.population.jitter)
        given = (self.population.seeds, self.population.latency, timelines.ptr, timelines.start, timelines.end)
        kept = [*vars(self.states).values(), *vars(self.episodes).values()]
        return sum(array.nbytes for array in (*given, timelines.kind, *own, self._order, self._regular, *kept))

    # the first phase --------------------------------------------------------------------------------------------------

    def _begin_outages(self, rows: Rows) -> None:
        """The outages of one window, in order; those of one participant, one after the other."""
        while len(rows):
            who = self._owner[rows].astype(np.int64)
            steady = self.states.mode[who] == Mode.STEADY
            rows, who = rows[steady], who[steady]
            first = np.zeros(len(rows), np.bool_)
            first[np.unique(who, return_index=True)[1]] = True
            if first.any():
                self._begin(rows[first], who[first])
            rows = rows[~first]

    def _begin(self, rows: Rows, who: Rows) -> None:
        """The outages of so many different steady participants, those within reach of the quiz by themselves."""
        states, start = self.states, self.population.timelines.start[rows]
        before = Steady(states.origin[who], states.heard[who], states.ping[who], self.population.latency[who])
        busy = is_busy(before, states.resent[who], start, self.rules)
        for chosen, decide in ((~busy, self._quiet_fates), (busy, self._busy_fates)):
            if chosen.any():
                self._decide(rows[chosen], who[chosen], decide)

    def _quiet_fates(self, who: Rows, before: Steady, outages: OutageColumns) -> Fates:
        fate = fates(before, outages, self.rules)
        for mine, decide in ((outages.suspended, suspended_fates), (outages.frozen, frozen_fates)):
            if mine.any():
                chosen = np.flatnonzero(mine)
                fate = fate.put(chosen, decide(before.take(chosen), outages.take(chosen), self.rules))
        irregular = ~self._regular[who]
        return dataclasses.replace(
            fate,
            entangled=fate.entangled | irregular,
            rode=fate.rode & ~irregular,
            pings=np.where(irregular, 0.0, fate.pings),
        )

    def _busy_fates(self, who: Rows, before: Steady, outages: OutageColumns) -> Fates:
        players = Players(self.population.seeds[who], self.states.resent[who])
        fate = busy_fates(before, players, outages, self.rules)
        if not self._standstills:
            return fate
        late = self._standstills.follow_soon(outages.start, BUSY_MEMORY * self.rules.heartbeat.interval + SETTLE_S)
        return dataclasses.replace(fate, entangled=fate.entangled | late, rode=fate.rode & ~late)

    def _decide(self, rows: Rows, who: Rows, decide: Callable[[Rows, Steady, OutageColumns], Fates]) -> None:
        timelines, states = self.population.timelines, self.states
        outages = OutageColumns(
            timelines.start[rows], timelines.end[rows], self._next_starts(rows), timelines.kind[rows]
        )
        before = Steady(states.origin[who], states.heard[who], states.ping[who], self.population.latency[who])
        fate = decide(who, before, outages)
        unstable = ~fate.rode & (fate.lost - states.restored[who] < self.rules.client.backoff.stable_after)
        entangled = fate.entangled | unstable
        if self._standstills:
            entangled |= self._standstills.meet(outages.start, outages.end, outages.frozen)
        self.episodes.outcome[rows] = EpisodeOutcome.RODE_THROUGH
        self._ride_through(who, fate, fate.rode & ~entangled)
        lost = np.flatnonzero(~fate.rode & ~entangled)
        self._lose(rows[lost], who[lost], lost, fate, outages)
        for index in np.flatnonzero(entangled):
            self._handover.take_steady(
                int(who[index]), int(rows[index]), float(fate.pings[index]), float(fate.last_ping[index])
            )

    def _ride_through(self, who: Rows, fate: Fates, rode: npt.NDArray[np.bool_]) -> None:
        chosen, states, after = who[rode], self.states, fate.after
        states.resent[chosen] &= states.origin[chosen] == after.origin[rode]
        states.origin[chosen], states.heard[chosen] = after.origin[rode], after.heard[rode]
        states.ping[chosen] = after.ping[rode]

    def _lose(self, rows: Rows, who: Rows, chosen: Rows, fate: Fates, outages: OutageColumns) -> None:
        """These participants lose their server."""
        states, lost = self.states, fate.lost[chosen]
        states.incident[who] += 1
        losses = Losses(
            self.population.seeds[who],
            states.incident[who],
            lost,
            np.where(outages.frozen[chosen], -np.inf, outages.end[chosen]),
            outages.silent[chosen],
            outages.torn[chosen],
            outages.kind[chosen] == OutageKind.DEPLOY,
            self.population.latency[who],
            outages.next_start[chosen],
        )
        climbs = climb(losses, self.rules)
        seen = lost < self.rules.duration
        self.episodes.detected[rows[seen]] = lost[seen]
        self._grace_ends[rows] = fate.grace_ends[chosen]
        requests = _requests_of(climbs, who, rows, chosen, fate)
        requests["at"] += self._deviations(requests).request
        requests["dials"][climbs.entangled] -= 1  # that dial is the explicit tier's
        gave_up = np.isfinite(climbs.gave_up)
        self._give_up(requests[gave_up], climbs.gave_up[gave_up])
        for index in np.flatnonzero(climbs.entangled):
            self._entangle(requests[index], float(climbs.dialled[index]))
        through = ~gave_up & ~climbs.entangled
        states.mode[who[through]] = Mode.RETURNING
        self._requests.put(requests[through])

    def _deviations(self, rows: Requests) -> Deviations | DialDeviations:
        """Those of the dials of these requests: arrays, or zeros for paths without jitter."""
        who, population = rows["who"], self.population
        if population.jitter is None:
            return NO_DEVIATIONS
        return DialDeviations(population.seeds[who], self.states.incident[who], rows["dials"], population.jitter[who])

    def _give_up(self, requests: Requests, at: Floats) -> None:
        self.states.mode[requests["who"]] = Mode.GONE
        seen = at < self.rules.duration
        requests, rows = requests[seen], requests["outage"][seen]
        self.episodes.ended[rows] = at[seen]
        self.episodes.outcome[rows] = EpisodeOutcome.GAVE_UP
        self.episodes.attempts[rows], self.episodes.dials[rows] = requests["attempt"], requests["dials"]

    def _entangle(self, request: Requests, dialled: Instant) -> None:
        self._grace_ends[request["outage"]] = np.inf
        self._handover.take_returning(request, dialled)

    # the second phase -------------------------------------------------------------------------------------------------

    def _meet_station(self, end: Instant) -> None:
        """Requests of both tiers, in order, and everything else of the explicit tier that comes before them."""
        queue = self.world.queue
        stretch = self._next_stretch(end)
        while True:
            request = queue.run_to_request(end)
            at, who = (end, -1) if request is None else request
            if stretch is not None and not self._let_in(stretch, at, who):
                stretch = self._next_stretch(end)
            elif request is None:
                return
            else:
                queue.step()

    def _next_stretch(self, end: Instant) -> _Stretch | None:
        """The next requests of this tier that are known, in order; ``None`` without any before ``end``."""
        rows = self._requests.before(end, -1)
        if not len(rows):
            return None
        until = rows["dialled"] + self.rules.client.open_timeout - self.population.latency[rows["who"]]
        until -= self._deviations(rows).response
        station = self.world.station
        services = station.services(self._service_numbers(rows)) if station.services_vary else None
        return _Stretch(rows, until, station.expect(np.ascontiguousarray(rows["at"]), until, services))

    def _let_in(self, stretch: _Stretch, at: Instant, who: int) -> bool:
        """The requests of this stretch before ``(at, who)`` meet the station; returns whether more of it are to come.

        Those that one of the others could precede by its return are put back, and the stretch is over.
        """
        rows, arrivals, station = stretch.rows, stretch.arrivals, self.world.station
        all_served = station.enter_many(arrivals, stretch.count_before(at, who), self._soonest)
        taken = len(arrivals.answers)
        if all_served and taken < len(rows):
            return True
        station.count(arrivals)
        self._requests.put(rows[taken:])
        if all_served:
            values = np.array(arrivals.values)
            self.world.count_departures(values)
            self._served.append((rows, values))
        else:
            self._sort_out(rows[:taken], arrivals, stretch.until[:taken])
        return False

    def _service_numbers(self, rows: Requests) -> list[float]:
        """Each client's number of this dial of its incident, whichever of its first packets was answered."""
        incidents = keys_under(self.population.seeds[rows["who"]], "service", self.states.incident[rows["who"]])
        numbers: list[float] = uniforms(incidents, rows["dials"]).tolist()
        return numbers

    def _sort_out(self, rows: Requests, arrivals: Arrivals, until: Floats) -> None:
        answers, values = np.array(arrivals.answers, np.int8), np.array(arrivals.values)
        served = answers == StationAnswer.SERVED
        unfinished = answers == StationAnswer.UNFINISHED
        self.world.count_departures(values[served | unfinished])
        in_time = served & (values < until)
        read = self._standstills.read_instants(rows["at"])
        rejected, dropped = (answers == StationAnswer.REJECTED) & (read < until), answers == StationAnswer.DROPPED
        unheard = (answers == StationAnswer.REJECTED) & ~rejected
        repeats = dropped & (rows["packet"] + 1 < len(self.rules.syn_times))
        if in_time.any():
            self._served.append((rows[in_time], values[in_time]))
        self._repeat_packet(rows[repeats].copy())
        latency = self.population.latency
        hears = read + latency[rows["who"]] + self._deviations(rows).response
        first, again = rejected & (rows["waited"] < 0), rejected & (rows["waited"] >= 0)
        self._wait_freely(rows[first].copy(), hears[first], values[first])
        self._try_again(rows[again].copy(), hears[again], values[again])
        skipped = answers == StationAnswer.SKIPPED
        tired = (served & ~in_time) | skipped | unfinished | unheard | (dropped & ~repeats)
        self._try_again(rows[tired].copy(), rows["dialled"][tired] + self.rules.client.open_timeout, None)

    def _repeat_packet(self, rows: Requests) -> None:
        if not len(rows):
            return
        rows["packet"] += 1
        times = np.array(self.rules.syn_times)[rows["packet"]]
        rows["at"] = rows["dialled"] + times + 3 * self.population.latency[rows["who"]]
        rows["at"] += self._deviations(rows).request
        self._requests.put(rows)

    def _wait_freely(self, rows: Requests, now: Floats, advice: Floats) -> None:
        """The first advised wait of each incident: only a spent time budget forbids it."""
        if not len(rows):
            return
        budget = self.rules.client.backoff.budget
        gone = np.zeros(len(rows), np.bool_) if budget is None else now - rows["lost"] >= budget
        self._give_up(rows[gone], now[gone])
        rows, now, advice = rows[~gone], now[~gone], advice[~gone]
        rows["waited"] = (now + advice) - now
        self._dial(rows, dial_instants(now, advice))

    def _try_again(self, rows: Requests, now: Floats, advice: Floats | None) -> None:
        """The next attempt of each, at least ``advice`` seconds from ``now``."""
        for attempt in np.unique(rows["attempt"]):
            chosen = rows["attempt"] == attempt
            least = None if advice is None else advice[chosen]
            self._try_attempt(int(attempt) + 1, rows[chosen], now[chosen], least)

    def _try_attempt(self, attempt: int, rows: Requests, now: Floats, advice: Floats | None) -> None:
        elapsed = (now - rows["lost"]) - np.maximum(rows["waited"], 0.0)
        over = spent(self.rules.client.backoff, attempt, elapsed)
        self._give_up(rows[over], now[over])
        rows, now, elapsed = rows[~over], now[~over], elapsed[~over]
        who = rows["who"]
        u = draws(self.population.seeds[who], self.states.incident[who], attempt)
        previous = rows["previous"].copy() if attempt > 1 else None
        delay = delays(self.rules, attempt, elapsed, u, previous)
        rows["attempt"], rows["previous"] = attempt, delay
        self._dial(rows, dial_instants(now, delay if advice is None else np.maximum(delay, advice[~over])))

    def _dial(self, rows: Requests, at: Floats) -> None:
        """Dials that begin at these instants, after the own outage of each; explicit where the next one is near."""
        near = at + self.rules.slack >= self._next_starts(rows["outage"].astype(np.int64))
        for index in np.flatnonzero(near):
            self._entangle(rows[index], float(at[index]))
        rows, at = rows[~near], at[~near]
        rows["dialled"], rows["packet"], rows["dials"] = at, 0, rows["dials"] + 1
        rows["at"] = at + 3 * self.population.latency[rows["who"]] + self._deviations(rows).request
        self._requests.put(rows)

    def _welcome_served(self) -> None:
        """All whose response came in time are open again: no one else's outage of this window depended on it."""
        if not self._served:
            return
        rows = joined([part for part, _ in self._served])
        leaves = np.concatenate([values for _, values in self._served])
        self._served = []
        who, outage, states, episodes = rows["who"].astype(np.int64), rows["outage"], self.states, self.episodes
        latency, commit = self.population.latency[who], self.rules.commit
        late = self._deviations(rows)
        attached = leaves + (latency + late.response) + (latency + late.resume)
        restored = attached + commit + latency
        states.connection_no[who] += 1
        ping = self._first_pings(who, attached, states.connection_no[who])
        states.ping[who] = np.where(ping <= attached + commit, ping + self.rules.heartbeat.interval, ping)
        states.restored[who] = states.origin[who] = restored
        states.heard[who] = restored + latency
        states.resent[who] = self._resends(who, outage, restored)
        states.mode[who] = Mode.STEADY
        states.attempt[who], states.lost[who] = rows["attempt"], rows["lost"]
        states.previous[who], states.waited[who] = rows["previous"], rows["waited"]
        back = attached < self.rules.duration
        self.episodes.grace_ended[outage[back]] = (attached >= rows["grace_ends"])[back]
        self._grace_ends[outage[back]] = np.inf
        seen = restored < self.rules.duration
        outage = outage[seen]
        episodes.ended[outage], episodes.outcome[outage] = restored[seen], EpisodeOutcome.RESTORED
        episodes.cleaned_up[outage] = (attached >= rows["expires"])[seen]
        episodes.attempts[outage], episodes.dials[outage] = rows["attempt"][seen], rows["dials"][seen]

    def _resends(self, who: Rows, outage: npt.NDArray[np.int32], restored: Floats) -> npt.NDArray[np.bool_]:
        """Which of these clients have an answer to send when they are open again: without a verdict, or due."""
        start, resends = self.population.timelines.start[outage], np.zeros(len(who), np.bool_)
        asked = np.flatnonzero(start < self.rules.quiz.ends_at + SETTLE_S)
        if len(asked):
            mine = who[asked]
            seeds, latency = self.population.seeds[mine], self.population.latency[mine]
            resends[asked] = resends_answers(seeds, latency, start[asked], restored[asked], self.rules)
        return resends


def _requests_of(climbs: Climbs, who: Rows, rows: Rows, chosen: Rows, fate: Fates) -> Requests:
    requests = np.empty(len(who), REQUEST)
    requests["at"], requests["who"], requests["outage"] = climbs.arrives, who, rows
    requests["dialled"], requests["previous"], requests["lost"] = climbs.dialled, climbs.previous, fate.lost[chosen]
    requests["grace_ends"], requests["expires"] = fate.grace_ends[chosen], fate.expires[chosen]
    requests["waited"] = climbs.waited
    requests["attempt"], requests["dials"] = climbs.attempt, climbs.dials
    requests["packet"] = climbs.packet
    return requests
