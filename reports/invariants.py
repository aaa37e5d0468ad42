"""The registry of every check of a run's history: its name, its rule in words, its function. Knows no rule itself.

What a check's result means is described in ``checking``; each rule, its evidence and the smallest history that breaks
it are in ``docs/invariants.md``.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from resilience.eventlog.vocabulary import Verdict
from resilience.experiment.drivers import FleetDriver
from resilience.experiment.targets import EvidenceSource

from .checking import Check, check_one
from .checks import (
    answers,
    client_answers,
    client_sessions,
    client_stream,
    client_tabs,
    connections,
    durability,
    failure_detection,
    laboratory,
    liveness,
    pacing,
    presence,
    state,
)
from .frames import RunHistory
from .summary import Invariant


class Rule(NamedTuple):
    """A rule in words and the check of it.

    ``timed``: it has a limit of time, or counts losses, so that a late laboratory or a replaced proxy can break it. No
    lateness loses an answer or confuses two clients. ``needs``: the sources without which it does not apply, of those
    that not every target has. ``any_client``: it holds for clients of any program; the others need this project's own.
    """

    words: str
    check: Check
    timed: bool = False
    needs: frozenset[EvidenceSource] = frozenset()
    any_client: bool = False

    @property
    def sources(self) -> frozenset[EvidenceSource]:
        """Everything without which it does not apply."""
        return self.needs if self.any_client else self.needs | {EvidenceSource.QUIZ_CLIENTS}


_LOG = frozenset({EvidenceSource.SERVER_LOG})
_DATABASE = frozenset({EvidenceSource.DATABASE})
_SETTINGS = frozenset({EvidenceSource.SERVER_SETTINGS})
_SHOWN = frozenset({EvidenceSource.OBSERVATIONS})

CHECKS: dict[str, Rule] = {
    # what the server and the clients recorded, and what the database held
    "acknowledged_answers_kept": Rule("no acknowledged answer is lost", answers.acknowledged_answers_kept, needs=_LOG),
    "acknowledged_after_commit": Rule(
        "no answer is acknowledged before it is committed", answers.acknowledged_after_commit, needs=_LOG
    ),
    "rejected_answers_not_scored": Rule(
        "no rejected answer is scored", answers.rejected_answers_not_scored, needs=_LOG
    ),
    "one_verdict_each": Rule("no answer gets two verdicts", answers.one_verdict_each),
    "answers_get_verdicts": Rule(
        "every answer gets a verdict in bounded time", liveness.answers_get_verdicts, timed=True
    ),
    "answers_scored_once": Rule("no answer is scored twice", answers.answers_scored_once, needs=_LOG),
    "scores_add_up": Rule("the final score is the sum of the committed answers", answers.scores_add_up, needs=_LOG),
    "final_scores_complete": Rule(
        "every participant has a final score", answers.final_scores_complete, needs=_LOG, any_client=True
    ),
    "one_live_connection": Rule(
        "each participant has one live connection, and only its loss detaches",
        connections.one_live_connection,
        needs=_LOG,
        any_client=True,
    ),
    "losses_have_faults": Rule(
        "no client loses its session without a fault", failure_detection.losses_have_faults, timed=True, any_client=True
    ),
    "dead_peers_detected": Rule(
        "silent connections end within their limit", failure_detection.dead_peers_detected, timed=True
    ),
    "identities_kept": Rule("no client loses its identity", presence.identities_kept, any_client=True),
    "announced_once": Rule(
        "no participant is announced to the room twice", presence.announced_once, needs=_LOG, any_client=True
    ),
    "nobody_stuck": Rule(
        "no participant stays temporarily disconnected",
        presence.nobody_stuck,
        timed=True,
        needs=_LOG | _SETTINGS,
        any_client=True,
    ),
    "stream_without_gap": Rule("the stream of room messages has no gap", state.stream_without_gap),
    "stream_reaches_everyone": Rule(
        "every session receives the stream to its end", liveness.stream_reaches_everyone, timed=True
    ),
    "restored_state_true": Rule(
        "the restored state equals the server's recomputed state", state.restored_state_true, needs=_LOG
    ),
    "server_lives": Rule("the server ends only when a fault ends it", liveness.server_lives, any_client=True),
    "clients_return": Rule(
        "every client that keeps trying is back after the last fault",
        liveness.clients_return,
        timed=True,
        any_client=True,
    ),
    "dials_paced": Rule("no client dials again sooner than its backoff allows", pacing.dials_paced),
    "acknowledged_are_stored": Rule(
        "no acknowledged answer is missing in the database", durability.acknowledged_are_stored, needs=_DATABASE
    ),
    "stored_once": Rule("no answer is in the database twice", durability.stored_once, needs=_DATABASE),
    "log_agrees": Rule("what was logged as durable is in the database", durability.log_agrees, needs=_LOG | _DATABASE),
    "scores_recompute": Rule(
        "the scores equal their recomputation from the answers", durability.scores_recompute, needs=_DATABASE
    ),
    "shown_scores_true": Rule(
        "no client was ever shown another score", durability.shown_scores_true, needs=_DATABASE | _SHOWN
    ),
    "answers_in_time": Rule(
        "no answer counts that came outside its question's time",
        durability.answers_in_time,
        timed=True,
        needs=_DATABASE,
    ),
    "deadlines_hold": Rule(
        "questions open and close when they were to", durability.deadlines_hold, timed=True, needs=_DATABASE
    ),
    "nothing_told_early": Rule(
        "no right answer is shown before the reveal", durability.nothing_told_early, needs=_DATABASE | _SHOWN
    ),
    "one_identity_each": Rule(
        "every client stays the one participant it joined as", durability.one_identity_each, needs=_DATABASE
    ),
    "one_run": Rule(
        "every restarted server recovers the same run", durability.one_run, needs=_LOG | _DATABASE, any_client=True
    ),
    # what the clients were shown, whatever the server says of itself
    "stream_shown_in_order": Rule(
        "each client is shown the stream without gap or repetition", client_stream.stream_shown_in_order, needs=_SHOWN
    ),
    "stream_same_for_all": Rule(
        "the stream is the same for all clients", client_stream.stream_same_for_all, needs=_SHOWN
    ),
    "restored_hear_what_follows": Rule(
        "a restored client is shown all that follows",
        client_stream.restored_hear_what_follows,
        timed=True,
        needs=_SHOWN,
    ),
    "joined_hear_what_follows": Rule(
        "a client that has joined is shown all that follows",
        client_stream.joined_hear_what_follows,
        timed=True,
        needs=_SHOWN,
    ),
    "snapshots_current": Rule(
        "a snapshot shows the phase at its position, which is the newest",
        client_stream.snapshots_current,
        timed=True,
        needs=_SHOWN,
    ),
    "joins_shown_once": Rule("no participant is shown as new twice", client_stream.joins_shown_once, needs=_SHOWN),
    "joins_shown": Rule(
        "a new participant is shown to the others", client_stream.joins_shown, timed=True, needs=_SETTINGS | _SHOWN
    ),
    "presence_true": Rule(
        "no connected participant is shown as away", client_stream.presence_true, timed=True, needs=_SHOWN
    ),
    "answers_judged_once": Rule(
        "no answer gets two verdicts, no client another's", client_answers.answers_judged_once, needs=_SHOWN
    ),
    "verdicts_in_time": Rule(
        "every answer gets a verdict in time", client_answers.verdicts_in_time, timed=True, needs=_SHOWN
    ),
    "verdicts_match_storage": Rule(
        "the database agrees with every verdict", client_answers.verdicts_match_storage, needs=_DATABASE | _SHOWN
    ),
    "stored_answers_sent": Rule(
        "every stored answer was sent by its participant's client",
        client_answers.stored_answers_sent,
        needs=_DATABASE | _SHOWN,
    ),
    "late_answers_refused": Rule(
        "no answer is accepted that was sent after the reveal",
        client_answers.late_answers_refused,
        timed=True,
        needs=_SETTINGS | _SHOWN,
    ),
    "no_answer_before_reveal": Rule(
        "no client is shown a right answer before the reveal", client_answers.no_answer_before_reveal, needs=_SHOWN
    ),
    "live_scores_true": Rule(
        "every score shown equals its recomputation", client_answers.live_scores_true, needs=_DATABASE | _SHOWN
    ),
    "scores_shown_at_reveal": Rule(
        "a reveal shows each client its score", client_answers.scores_shown_at_reveal, timed=True, needs=_SHOWN
    ),
    "leaderboards_true": Rule(
        "leaderboards list the best with their scores", client_answers.leaderboards_true, needs=_DATABASE | _SHOWN
    ),
    "previous_answers_true": Rule(
        "a snapshot shows the client's own answer", client_answers.previous_answers_true, needs=_SHOWN
    ),
    "identities_apart": Rule(
        "every client stays one participant of its own", client_sessions.identities_apart, needs=_SHOWN
    ),
    "sessions_survive": Rule("no client's session is forgotten", client_sessions.sessions_survive, needs=_SHOWN),
    "tokens_rotate": Rule("every resume replaces the token", client_sessions.tokens_rotate, needs=_SHOWN),
    "newest_connection_wins": Rule(
        "a replaced connection is not used any more", client_sessions.newest_connection_wins, needs=_SHOWN
    ),
    "second_tabs_take_over": Rule(
        "a second tab is its participant, never a new one", client_tabs.second_tabs_take_over, timed=True, needs=_SHOWN
    ),
    "replaced_tabs_stay_closed": Rule(
        "a replaced tab hears no more and does not come back",
        client_tabs.replaced_tabs_stay_closed,
        timed=True,
        needs=_SHOWN,
    ),
    "replays_refused": Rule("a replaced token opens no session", client_tabs.replays_refused, needs=_SHOWN),
    "epochs_change": Rule("a restarted server begins a new stream", client_sessions.epochs_change, needs=_SHOWN),
    "losses_have_causes": Rule(
        "no connection is lost without a fault", client_sessions.losses_have_causes, timed=True, needs=_SHOWN
    ),
    "heartbeats_arrive": Rule(
        "heartbeats arrive on every connection", client_sessions.heartbeats_arrive, timed=True, needs=_SETTINGS | _SHOWN
    ),
    "absences_shown": Rule(
        "a silent client is shown as away in time", client_sessions.absences_shown, timed=True, needs=_SETTINGS | _SHOWN
    ),
    "faults_reach_their_links": Rule(
        "no client bypasses the faults of its link (harness)",
        client_sessions.faults_reach_their_links,
        timed=True,
        needs=_SHOWN,
    ),
    # the laboratory
    "faults_confirmed": Rule(
        "a canary saw every fault begin and end (harness)", laboratory.faults_confirmed, timed=True, any_client=True
    ),
}
"""By name; the order is that of every output."""


def run_checks(log: RunHistory, names: Collection[str] = CHECKS.keys()) -> tuple[Invariant, ...]:
    """Every invariant on this run, or those of these names, in the order of the registry."""
    return tuple(_invariant(name, rule, log) for name, rule in CHECKS.items() if name in names)


def _invariant(name: str, rule: Rule, log: RunHistory) -> Invariant:
    """The result of one check; one whose evidence the target does not have is not made."""
    missing = [source for source in EvidenceSource if source in rule.sources - _evidence(log)]
    if not missing:
        return check_one(name, rule.words, rule.check, log)
    target = f"a target of the kind {log.experiment.target.kind} has no {missing[0]} that this program can read"
    driver = "clients of another program leave no evidence of it"
    unseen = "the clients are of another program, of which nothing is kept of what they were shown"
    about_clients = {EvidenceSource.QUIZ_CLIENTS: driver, EvidenceSource.OBSERVATIONS: unseen}
    detail = about_clients.get(missing[0], target)
    return Invariant(name=name, rule=rule.words, verdict=Verdict.NOT_APPLICABLE, detail=detail, checked=0)


def _evidence(log: RunHistory) -> frozenset[EvidenceSource]:
    """What the run left behind: a driver with ``quiz_records`` may report what its clients were shown, and need not."""
    expected = log.experiment.evidence
    has_fleet = any(isinstance(driver, FleetDriver) for driver in log.experiment.drivers_by_cohort.values())
    return expected if has_fleet or not log.observed.empty else expected - _SHOWN
