"""Checks of identities, tokens, connections and faults as clients saw them. Computes no statistic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from resilience.eventlog.vocabulary import LogEventKind, Role
from resilience.experiment.faults import REPLACES_SERVER, AnyFault, FaultEdge, connections_end
from resilience.experiment.primitives import Direction, FaultTarget
from resilience.lab.observation import SILENCE, ObservationKind
from resilience.lab.participants import person_of
from resilience.protocol.client.connection import OWN_CHOICES
from resilience.units import Seconds

from ..checking import CheckResult, records
from .client_evidence import ClientEvidence, of_clients
from .client_stream import found, presence_is_counted
from .held_back import held_back_s
from .other_tabs import other_tabs
from .selection import select

_WELCOMES = (ObservationKind.JOINED, ObservationKind.RESTORED)
_NO_SESSION = "no client had a session"

EXPOSURE_SLACK_S: Seconds = 0.5
"""How long after a fault's begin a message may arrive that crossed the link before."""


# identities -----------------------------------------------------------------------------------------------------------


@of_clients
def identities_apart(evidence: ClientEvidence) -> CheckResult:
    """A client stays one participant under its own name; no two are the same participant, but tabs of one."""
    welcomes = evidence.of(*_WELCOMES)
    welcomes = welcomes.assign(person=[person_of(actor) for actor in welcomes["actor"]])
    first = welcomes.drop_duplicates("person").set_index("person")["participant"]
    owners = welcomes.drop_duplicates("participant").set_index("participant")["person"]
    problems = []
    for row in records(welcomes):
        where = f"{row.actor} at {row.t:.3f} s, connection {row.connection}"
        if row.participant != first[row.person]:
            problems.append(f"{where}: is participant {row.participant}, was {first[row.person]}")
        elif owners[row.participant] != row.person:
            problems.append(f"{where}: is participant {row.participant}, as {owners[row.participant]} is")
        elif row.name is not None and row.name != row.person:
            problems.append(f"{where}: its name is shown as {row.name}")
    return found(len(welcomes), problems, _NO_SESSION)


@of_clients
def sessions_survive(evidence: ClientEvidence) -> CheckResult:
    """The server knows the session of every client that resumes, unless another tab has the session."""
    refused, restored = evidence.of(ObservationKind.REFUSED), evidence.of(ObservationKind.RESTORED)
    tabs = other_tabs(evidence.history)
    problems = [
        f"{row.actor} ({row.participant}) at {row.t:.3f} s: its token was refused: {row.outcome}"
        for row in records(refused)
        if not tabs.explain(str(row.actor), row.t, row.outcome)
    ]
    return found(len(refused) + len(restored), problems, "no client resumed")


@of_clients
def tokens_rotate(evidence: ClientEvidence) -> CheckResult:
    """Every join and resume gives the client a token that was never seen before."""
    welcomes = evidence.of(*_WELCOMES)
    again = welcomes[welcomes.duplicated("token")]
    problems = [
        f"{row.actor} ({row.participant}) at {row.t:.3f} s: got token {row.token}..., which was given before"
        for row in records(again)
    ]
    nothing = "no client resumed"
    return found(int((welcomes["kind"] == ObservationKind.RESTORED).sum()), problems, nothing)


# connections ----------------------------------------------------------------------------------------------------------


@of_clients
def newest_connection_wins(evidence: ClientEvidence) -> CheckResult:
    """The server numbers a participant's connections upwards, and sends nothing over one that a newer one replaced.

    The welcomes of two tabs may arrive in another order than they were sent.
    """
    welcomes = evidence.of(*_WELCOMES).sort_values("t", kind="stable")
    before = welcomes.groupby("participant", sort=False)["fence"].shift()
    late = welcomes.assign(before=before)[(welcomes["fence"] <= before).fillna(value=False).to_numpy(dtype=bool)]
    problems = [
        f"{row.actor} ({row.participant}) at {row.t:.3f} s: its connection has number {row.fence} after {row.before}"
        for row in records(late)
        if not _overtaken_by_another_tab(evidence, welcomes, row)
    ]
    begun = evidence.connections[["actor", "connection", "since"]]
    for row in records(evidence.rows[evidence.rows["stale"]]):
        newer = begun[(begun["actor"] == row.actor) & (begun["connection"] > row.connection) & (begun["since"] < row.t)]
        if len(newer):
            problems.append(
                f"{row.actor} at {row.t:.3f} s: was shown {row.kind} over connection {row.connection}, replaced"
            )
    return found(len(welcomes) - welcomes["participant"].nunique(), problems, "no client connected a second time")


def _overtaken_by_another_tab(evidence: ClientEvidence, welcomes: pd.DataFrame, row: Any) -> bool:  # noqa: ANN401
    """Whether this connection was open before the higher numbers were seen, and other tabs saw all of them."""
    opened = select(
        evidence.history, LogEventKind.TRANSPORT_OPENED, role=Role.CLIENT, columns=("actor", "connection_no")
    )
    mine = opened[((opened["actor"] == row.actor) & (opened["connection_no"] == row.connection)).to_numpy(dtype=bool)]
    higher = welcomes[(welcomes["participant"] == row.participant) & (welcomes["t"] <= row.t)]
    own = (higher["actor"] == row.actor) & (higher["connection"] == row.connection)
    higher = higher[(higher["fence"] >= row.fence) & ~own]
    is_new = (higher["fence"] > row.fence) & (higher["actor"] != row.actor) & (higher["t"] >= mine["t"].min())
    return bool(is_new.all())


@of_clients
def epochs_change(evidence: ClientEvidence) -> CheckResult:
    """After a server ended, killed or drained, and another one started, the stream has another name."""
    kills = evidence.windows
    kills = kills[kills["kind"].isin(REPLACES_SERVER) & kills["confirmed_at"].notna() & kills["healed_at"].notna()]
    shown = evidence.of(*_WELCOMES)
    problems = []
    for kill in records(kills):
        before = set(shown.loc[shown["t"] < kill.start, "epoch"])
        same = shown[(shown["t"] > kill.healed_at) & shown["epoch"].isin(list(before))]
        problems += [
            f"{row.actor} at {row.t:.3f} s: is in epoch {row.epoch}, which ended with the server at {kill.start:.3f} s"
            for row in records(same)
        ]
    return found(len(kills), problems, "no server was replaced")


@of_clients
def losses_have_causes(evidence: ClientEvidence) -> CheckResult:
    """A connection ends only by its client's own choice, or while a fault touches its link or the server."""
    connections = evidence.connections
    lost = connections[(connections["ended_by"] == ObservationKind.LOST) & ~connections["cause"].isin(OWN_CHOICES)]
    lost = lost[[not evidence.is_excused(row.link, row.heard, row.until) for row in records(lost)]]
    problems = [
        f"{row.actor} ({row.participant}) at {row.until:.3f} s: connection {row.connection} was lost ({row.cause}) "
        "though no fault touched it"
        for row in records(lost)
    ]
    own = evidence.history.experiment.client.probe_deadline
    if problems and evidence.history.lab_lag > own / 2 and (lost["cause"] == SILENCE).all():
        lag = f"the clients' loops ran {evidence.history.lab_lag:.2f} s late, their probes wait for {own:g} s"
        return CheckResult(len(connections), unknown=f"{problems[0]}; {lag}")
    return found(len(connections), problems, _NO_SESSION)


@of_clients
def heartbeats_arrive(evidence: ClientEvidence) -> CheckResult:
    """The server pings every connection once an interval for as long as it lasts."""
    server = evidence.history.experiment.server
    if server.adaptive_heartbeat:
        return CheckResult(0, inapplicable="adaptive heartbeats have no fixed interval")
    calm = evidence.connections[~evidence.connections["faulty"]]
    lasted = calm["calm_until"] - calm["since"] - evidence.settle
    due = np.floor(lasted / server.heartbeat_interval) - 1
    judged = calm.assign(due=due)[(due >= 1).to_numpy(dtype=bool)]
    problems = [
        f"{row.actor} ({row.participant}), connection {row.connection} since {row.since:.3f} s: {row.pings} heartbeats "
        f"arrived, at least {row.due:.0f} were due by {row.calm_until:.3f} s"
        for row in records(judged[judged["pings"] < judged["due"]])
    ]
    return found(len(judged), problems, "no connection lasted for two heartbeat intervals without a fault")


# faults ---------------------------------------------------------------------------------------------------------------


@of_clients
def absences_shown(evidence: ClientEvidence) -> CheckResult:
    """A client whose messages no longer arrive is shown as away to others within the grace period."""
    server = evidence.history.experiment.server
    if server.adaptive_heartbeat:
        return CheckResult(0, inapplicable="adaptive heartbeats have no fixed grace period")
    if why := presence_is_counted(evidence):
        return CheckResult(0, inapplicable=why)
    limit = server.grace_period + server.flap_hidden + server.presence_interval + evidence.settle
    changes = evidence.presence
    away = changes[changes["sign"].isin(["-", "!"])]
    problems, checked = [], 0
    connections = evidence.connections
    for window in records(_silences(evidence, limit)):
        due, links = window.start + limit, list(window.links)
        is_struck, held = connections["link"].isin(links), connections["since"] < window.start
        back = connections.loc[connections["since"].between(window.start, due), "actor"]
        silent = connections[
            is_struck & held & (connections["until"] > window.start) & ~connections["actor"].isin(back)
        ]
        if Direction.DOWN in window.ways:  # one that heard the server meanwhile was not struck
            slack = EXPOSURE_SLACK_S + evidence.history.lab_lag
            later = silent["heard"] > window.fault_at + slack
            silent = silent[~(later & (silent["heard"] < (np.inf if _closes(window.kind) else window.stop)))]
        if not (~is_struck & held & ~connections["faulty"] & (connections["calm_until"] >= due)).any():
            continue
        shown = set(away.loc[away["t"].between(window.start, due), "about"])
        checked += len(silent)
        problems += [
            f"{row.actor} ({row.participant}): silent since {window.start:.3f} s ({window.fault_id}), "
            f"and not shown as away within {limit:.1f} s"
            for row in records(silent[~silent["participant"].isin(list(shown))])
        ]
    return found(checked, problems, "no client was silent for longer than the grace period while others were connected")


def _closes(kind: str) -> bool:
    """Whether no connection survives a window of this kind."""
    return connections_end(kind) is not None


def _silences(evidence: ClientEvidence, limit: Seconds) -> pd.DataFrame:
    """The windows in which no messages of clients arrived for at least ``limit`` seconds."""
    frame = evidence.windows
    ways = _silent_ways(evidence)
    frame = frame.assign(ways=pd.Series(ways, dtype="object"))
    vanish = np.array([Direction.UP in each for each in ways], dtype=bool)
    at_link = frame["links"].notna().to_numpy(dtype=bool)  # a silent server shows nothing to any client
    return frame[vanish & at_link & (frame["stop"] - frame["start"] >= limit).to_numpy()]


def _silent_ways(evidence: ClientEvidence) -> list[tuple[Direction, ...]]:
    """For each window: the directions in which nothing arrives."""
    planned = _planned(evidence)
    return [planned[name].silent_ways if name in planned else () for name in evidence.windows["fault_id"]]


def _planned(evidence: ClientEvidence) -> dict[str, AnyFault]:
    history = evidence.history
    return {window.fault_id: window.fault for window in history.experiment.windows(history.info.seed)}


def _ends_all(fault: AnyFault | None) -> bool:
    """Whether a connection on the fault's link hears nothing after its begin: closed then, or silent until it is."""
    if fault is None or fault.target is not FaultTarget.LINK:
        return False
    closes = fault.connections_end
    return closes is FaultEdge.BEGIN or (closes is FaultEdge.END and Direction.DOWN in fault.silent_ways)


@of_clients
def faults_reach_their_links(evidence: ClientEvidence) -> CheckResult:
    """No client hears the server over a connection that a fault ended, or at all while its link refuses connections.

    Such a client bypasses its proxy: the fault says nothing about it. Concerns the laboratory, so it is no failure.
    """
    slack = EXPOSURE_SLACK_S + evidence.history.lab_lag
    windows = evidence.windows
    planned = _planned(evidence)
    ends = np.array([_ends_all(planned.get(name)) for name in windows["fault_id"]], dtype=bool)
    windows = windows[ends & windows["confirmed_at"].notna() & windows["links"].notna()]
    problems, exposed = [], 0
    for window in records(windows):
        held = evidence.connections[evidence.connections["link"].isin(list(window.links))]
        # "heard" is the last sign of life, so an older connection that heard anything later has survived
        late = held_back_s(evidence.history, held["actor"], held["heard"].to_numpy())
        survived = held[(held["since"] < window.start) & (held["heard"] - late > window.fault_at + slack)]
        opened = held[(held["since"] > window.fault_at + slack) & (held["since"] < window.stop)]
        reached = pd.concat([survived, opened]) if window.kind == "refuse" else survived
        exposed += len(held[(held["since"] < window.start) & (held["until"] >= window.start)])
        problems += [
            f"{row.actor} ({window.fault_id}): connection {row.connection}, opened at {row.since:.3f} s, "
            f"heard the server at {row.heard:.3f} s"
            for row in records(reached)
        ]
    if problems:
        more = f"{len(problems)} connections that faults did not reach, of {exposed} held: {problems[0]}"
        return CheckResult(exposed, unknown=more)
    return found(exposed, [], "no connection was held when a fault ended those of its link")
