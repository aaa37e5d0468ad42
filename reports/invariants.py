"""The registry of every check of a run's history: its name, its rule in words, its function. Knows no rule itself.

What a check's result means is described in ``checking``; each rule, its evidence and the smallest history that breaks
it are in ``docs/invariants.md``.
"""

from __future__ import annotations

from .checking import Check, CheckResult, check_one
from .checks import answers, connections, durability, failure_detection, laboratory, liveness, presence, state
from .frames import RunHistory
from .summary import Invariant

__all__ = ["CHECKS", "Check", "CheckResult", "check_one", "run_checks"]

CHECKS: dict[str, tuple[str, Check]] = {
    "acknowledged_answers_kept": ("no acknowledged answer is lost", answers.acknowledged_answers_kept),
    "acknowledged_after_commit": (
        "no answer is acknowledged before it is committed",
        answers.acknowledged_after_commit,
    ),
    "rejected_answers_not_scored": ("no rejected answer is scored", answers.rejected_answers_not_scored),
    "one_verdict_each": ("no answer gets two verdicts", answers.one_verdict_each),
    "answers_get_verdicts": ("every answer gets a verdict in bounded time", liveness.answers_get_verdicts),
    "answers_scored_once": ("no answer is scored twice", answers.answers_scored_once),
    "scores_add_up": ("the final score is the sum of the committed answers", answers.scores_add_up),
    "final_scores_complete": ("every participant has a final score", answers.final_scores_complete),
    "one_live_connection": (
        "each participant has one live connection, and only its loss detaches",
        connections.one_live_connection,
    ),
    "losses_have_faults": ("no client loses its session without a fault", failure_detection.losses_have_faults),
    "dead_peers_detected": ("silent connections end within their limit", failure_detection.dead_peers_detected),
    "identities_kept": ("no client loses its identity", presence.identities_kept),
    "announced_once": ("no participant is announced to the room twice", presence.announced_once),
    "nobody_stuck": ("no participant stays temporarily disconnected", presence.nobody_stuck),
    "stream_without_gap": ("the stream of room messages has no gap", state.stream_without_gap),
    "stream_reaches_everyone": ("every session receives the stream to its end", liveness.stream_reaches_everyone),
    "restored_state_true": ("the restored state equals the server's recomputed state", state.restored_state_true),
    "server_lives": ("the server ends only when a fault ends it", liveness.server_lives),
    "clients_return": ("every client that keeps trying is back after the last fault", liveness.clients_return),
    "acknowledged_are_stored": (
        "no acknowledged answer is missing in the database",
        durability.acknowledged_are_stored,
    ),
    "stored_once": ("no answer is in the database twice", durability.stored_once),
    "log_agrees": ("what was logged as durable is in the database", durability.log_agrees),
    "scores_recompute": ("the scores equal their recomputation from the answers", durability.scores_recompute),
    "shown_scores_true": ("no client was ever shown another score", durability.shown_scores_true),
    "answers_in_time": ("no answer counts that came outside its question's time", durability.answers_in_time),
    "deadlines_hold": ("questions open and close when they were to", durability.deadlines_hold),
    "nothing_told_early": ("no right answer is shown before the reveal", durability.nothing_told_early),
    "one_identity_each": ("every client stays the one participant it joined as", durability.one_identity_each),
    "one_run": ("every restarted server recovers the same run", durability.one_run),
    "faults_confirmed": ("a canary saw every fault begin and end (harness)", laboratory.faults_confirmed),
}
"""Name -> the rule in words and the function; the order is that of every output."""


def run_checks(log: RunHistory) -> tuple[Invariant, ...]:
    """Every invariant on this run, in a fixed order."""
    return tuple(check_one(name, rule, check, log) for name, (rule, check) in CHECKS.items())
