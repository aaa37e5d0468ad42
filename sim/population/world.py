"""The population and the rules that an experiment describes. Reads the files of network profiles, nothing else.

Every client has joined when the run begins. A cohort's links suffer the outages that its network profiles draw and the
faults that strike it; where they overlap they are one outage. A process that is replaced closes its connections over
the drain window, each at its own moment.
"""

from __future__ import annotations

import numpy as np

from resilience.errors import ExperimentError, UsageError, require
from resilience.experiment.spec import Experiment
from resilience.policy.failure_detectors import HeartbeatTimeouts
from resilience.policy.return_window import ReturnWindow, return_window
from resilience.protocol.server.heartbeats import ping_with
from resilience.units import Seconds

from ..profiles.files import load_profile
from ..profiles.mix import NetworkMix, Segment
from ..profiles.profile import NetworkProfile, first_path
from ..profiles.sampler import MAX_HORIZON_S, sample
from ..profiles.timelines import TICKS_PER_S, OutageKind, OutageTimelines, on_grid
from ..random_arrays import keys_of, uniforms
from .causes import NamedOutages, named, united
from .population import Population
from .quiz import QuizSchedule
from .requests import MOST_PARTICIPANTS
from .rules import MAX_LATENCY_S, PopulationRules, StationRules, tick
from .strikes import clients_each, drain_s, process_ends, standstills_of, with_faults


def rules_of(experiment: Experiment) -> PopulationRules:
    """The rules of each server, at the costs of the experiment: one visit to the station is a handshake and its resume.

    Raises :class:`~resilience.errors.ConfigError` for what the lane cannot carry, by the experiment's key.
    """
    server, servers, each = experiment.server, experiment.population.servers, clients_each(experiment)
    rule = f"one server takes at most {MOST_PARTICIPANTS:,} clients in this lane, not {each:,}"
    require(each <= MOST_PARTICIPANTS, "population.servers", servers, rule)
    rule = f"must be at most {MAX_HORIZON_S:g} s in this lane"
    require(experiment.duration <= MAX_HORIZON_S, "duration", experiment.duration, rule)
    rule = f"must be at most {TICKS_PER_S:,} a second in this lane"
    require(server.join_capacity <= TICKS_PER_S, "server.join_capacity", server.join_capacity, rule)
    return PopulationRules(
        experiment.client.rules,
        HeartbeatTimeouts(server.heartbeat_interval, server.grace_period, server.cleanup_interval),
        _announced(return_window(each, server.join_capacity, server.max_return_spread)),
        _station(experiment),
        experiment.costs.commit,
        experiment.duration,
        QuizSchedule.of(experiment.quiz, experiment.duration),
        drain_s(experiment) + server.restart_pause,
        max(_latency(experiment, number, _profiles(experiment, number)) for number in range(len(experiment.cohorts))),
    )


def _station(experiment: Experiment) -> StationRules:
    server, costs = experiment.server, experiment.costs
    return StationRules(
        server.join_capacity,
        server.admission_seconds,
        costs.processors,
        costs.return_service,
        costs.backlog,
        costs.service,
        costs.service_sigma,
        costs.wasted_work,
    )


def population_of(experiment: Experiment, seed: int) -> Population:
    """Everyone, cohort by cohort; :class:`~resilience.errors.UsageError` for a profile that cannot be carried."""
    profiles = [_profiles(experiment, number) for number in range(len(experiment.cohorts))]
    seeds = [keys_of(seed, 0, cohort.name, last=np.arange(cohort.clients)) for cohort in experiment.cohorts]
    latency = [
        np.full(cohort.clients, _latency(experiment, number, profiles[number]))
        for number, cohort in enumerate(experiment.cohorts)
    ]
    outages = [_sampled(experiment, number, profiles[number], seed) for number in range(len(profiles))]
    timelines, names = with_faults(experiment, seed, united(outages))
    ends, standstills = process_ends(experiment, seed), standstills_of(experiment, seed).pairs
    jitter = [
        np.full(cohort.clients, _jitter(number, profiles[number], float(latency[number][0])))
        for number, cohort in enumerate(experiment.cohorts)
    ]
    deviates = any(each[0] for each in jitter)
    return Population(
        np.concatenate(seeds),
        np.concatenate(latency),
        timelines,
        names,
        ends,
        standstills,
        np.concatenate(jitter) if deviates else None,
    )


def _announced(window: ReturnWindow) -> ReturnWindow:
    """As clients learn it, in whole milliseconds."""
    ping = ping_with(0, window)
    return ReturnWindow(ping.spread_ms / 1000, ping.step_ms / 1000, ping.cap_ms / 1000)


def _sampled(experiment: Experiment, number: int, profiles: tuple[NetworkProfile, ...], seed: int) -> NamedOutages:
    """The outages that the profiles of this cohort draw."""
    cohort = experiment.cohorts[number]
    if not profiles:
        return NamedOutages(OutageTimelines.none(cohort.clients, np.zeros(0, np.int32)), ())
    mix = NetworkMix((Segment(cohort.name, cohort.clients, profiles),))
    timelines, names = named(sample(mix, experiment.duration, seed=seed), cohort.name, profiles)
    start = timelines.start.copy()
    deployed = np.flatnonzero(timelines.kind == OutageKind.DEPLOY)
    if len(deployed):
        keys = keys_of(seed, 0, cohort.name, last=timelines.owner[deployed])
        later = on_grid(uniforms(keys, "drain", 0) * drain_s(experiment))
        start[deployed] += np.where(later < timelines.end[deployed] - start[deployed], later, 0.0)
    return NamedOutages(OutageTimelines(timelines.ptr, start, timelines.end, timelines.kind, timelines.cause), names)


def _profiles(experiment: Experiment, number: int) -> tuple[NetworkProfile, ...]:
    """The profiles of this cohort; :class:`~resilience.errors.ExperimentError` for one that cannot be carried."""
    key, names = f"cohorts[{number}].profiles", experiment.cohorts[number].profiles
    try:
        profiles = tuple(load_profile(name) for name in names)
    except UsageError as error:
        raise ExperimentError(experiment.name, key, str(error)) from error
    loaded = [profile.name for profile in profiles]
    require(len(set(loaded)) == len(loaded), key, loaded, "must not repeat")
    return profiles


def _latency(experiment: Experiment, number: int, profiles: tuple[NetworkProfile, ...]) -> Seconds:
    """One way to a client of this cohort: that of its first profile which says something of its path."""
    path = first_path(profiles)
    one_way = experiment.population.latency if path is None else path.round_trip.value / 2
    latency = tick(one_way)
    key = "population.latency" if path is None else f"cohorts[{number}].profiles"
    rule = f"one way must take above 0 and at most {MAX_LATENCY_S:g} s in this lane"
    require(0 < latency <= MAX_LATENCY_S, key, one_way, rule)
    return latency


def _jitter(number: int, profiles: tuple[NetworkProfile, ...], latency: Seconds) -> Seconds:
    """By how much one way to a client of this cohort deviates at most, as its first profile with a path says."""
    path = first_path(profiles)
    jitter = 0.0 if path is None else tick(path.jitter.value)
    rule = f"one way with its jitter must take at most {MAX_LATENCY_S:g} s in this lane"
    require(latency + jitter <= MAX_LATENCY_S, f"cohorts[{number}].profiles", latency + jitter, rule)
    return jitter
