"""What a campaign proved, as values: the checks of three sources, and the figures. Prints nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from reports.durability_checks import DurabilityEvidence, judge
from reports.frames import RunHistory, load_history
from reports.invariants import run_checks
from reports.summary import Invariant
from resilience.eventlog.vocabulary import LogEventKind, Role, Verdict
from resilience.lab.participants import EVENT
from resilience.units import Instant, Seconds

from .books import Books, read_books
from .campaign import Campaign, Round
from .plan import CrashPlan

FILE = "crash.json"
LATE: Seconds = 0.75
"""A server that has just started under a crowd may be so late; what the clients' own loop was late comes on top."""

_SKIPPED = ("faults_confirmed",)
_KEPT = ("accepted", "duplicate")


class Spread(msgspec.Struct, frozen=True):
    """Of many durations, seconds."""

    n: int
    mean: Seconds
    p50: Seconds
    p95: Seconds
    max: Seconds


class Death(msgspec.Struct, frozen=True):
    """One round: instants are seconds since the run's start."""

    round: int
    aim: str
    killed_at: Instant
    listening_at: Instant | None
    all_back_after: Seconds | None
    in_flight: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """``crash.json``. ``recovery_s`` counts from the kill to each client's restored session.

    ``since_listening_s`` counts from the new server's start instead; ``in_flight`` are answers that were on their way
    at a kill, ``in_flight_verdicts`` what became of them.
    """

    schema: int = 1
    verdict: Verdict
    seed: int
    rounds: int
    rounds_planned: int
    clients: int
    database: str
    wall_s: Seconds
    acknowledged: int
    rounds_with_answers_in_flight: int
    in_flight: int
    in_flight_verdicts: dict[str, int]
    recovery_s: Spread | None
    since_listening_s: Spread | None
    down_s: Spread | None
    checks: tuple[Invariant, ...]
    deaths: tuple[Death, ...]


def judged(plan: CrashPlan, campaign: Campaign, run_dir: Path) -> Report:
    """Hold everything against everything, and write the report."""
    log = load_history(run_dir)
    books = read_books(campaign.db, EVENT, campaign.origin)
    checks = _checks(plan, campaign, log, books)
    ups = [e.t for e in log.of(LogEventKind.SERVER_STARTED, Role.SERVER)][1:]
    rounds = campaign.rounds
    back = [(i, seconds) for i, this in enumerate(rounds) for seconds in this.back.values()]
    waits = [up - this.killed_at for this, up in zip(rounds, ups, strict=False)]
    report = Report(
        verdict=_worst(checks),
        seed=plan.seed,
        rounds=len(rounds),
        rounds_planned=plan.rounds,
        clients=plan.clients,
        database=campaign.db.partition(":")[0].partition("+")[0],
        wall_s=campaign.wall_s,
        acknowledged=sum(e.outcome in _KEPT for e in log.of(LogEventKind.ANSWER_ACKED, Role.CLIENT)),
        rounds_with_answers_in_flight=sum(bool(this.in_flight) for this in rounds),
        in_flight=sum(len(this.in_flight) for this in rounds),
        in_flight_verdicts=_verdicts(rounds, log),
        recovery_s=spread(seconds for _, seconds in back),
        since_listening_s=spread(seconds - waits[i] for i, seconds in back if i < len(waits)),
        down_s=spread(waits),
        checks=checks,
        deaths=tuple(_death(this, ups[i] if i < len(ups) else None) for i, this in enumerate(rounds)),
    )
    (run_dir / FILE).write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return report


def _checks(plan: CrashPlan, campaign: Campaign, log: RunHistory, books: Books) -> tuple[Invariant, ...]:
    evidence = DurabilityEvidence(log, books.stored, campaign.sights, LATE + campaign.lag)
    own = [_own(name, rule, campaign, len(campaign.rounds)) for name, rule in _OWN.items()]
    heirs = [e.outcome for e in log.of(LogEventKind.SERVER_STARTED, Role.SERVER)]
    expected = ["fresh", *["recovered"] * len(campaign.rounds)]
    is_one_run = heirs == expected and books.incarnation == len(expected)
    told = f"starts were {Counter(heirs)}, the run is at server {books.incarnation} of {len(expected)}"
    own.append(
        _invariant("one_run", "every server went on with the same run", None if is_one_run else told, len(heirs))
    )
    present = len(books.stored.scores)
    count = None if present == plan.clients else f"{present} participants, {plan.clients} clients"
    own.append(_invariant("nobody_doubled", "as many participants in the database as clients", count, present))
    logged = [item for item in run_checks(log) if item.name not in _SKIPPED]
    return (*own, *judge(evidence), *logged)


_OWN = {
    "server_lives": "the server ends only when it is killed",
    "everybody_returns": "every client comes back after every death",
}


def _own(name: str, rule: str, campaign: Campaign, rounds: int) -> Invariant:
    return _invariant(name, rule, campaign.broken.get(name), rounds)


def _invariant(name: str, rule: str, broken: str | None, checked: int) -> Invariant:
    verdict = Verdict.FAIL if broken else Verdict.PASS if checked else Verdict.INCONCLUSIVE
    return Invariant(name=name, rule=rule, verdict=verdict, detail=broken or "no counterexample", checked=checked)


def _worst(checks: Sequence[Invariant]) -> Verdict:
    verdicts = {item.verdict for item in checks}
    return next((v for v in (Verdict.FAIL, Verdict.INCONCLUSIVE) if v in verdicts), Verdict.PASS)


def _verdicts(rounds: Sequence[Round], log: RunHistory) -> dict[str, int]:
    verdicts = {(e.actor, e.ref): e.outcome for e in log.of(LogEventKind.ANSWER_ACKED, Role.CLIENT)}
    found = Counter(verdicts.get(ref) or "none" for this in rounds for ref in this.in_flight)
    return dict(sorted(found.items()))


def _death(this: Round, up: Instant | None) -> Death:
    return Death(this.number, this.aim, this.killed_at, up, max(this.back.values(), default=None), len(this.in_flight))


def spread(durations: Iterable[Seconds]) -> Spread | None:
    """Their mean, median, 95th percentile (nearest rank) and maximum; None of none."""
    ranked = sorted(durations)
    if not ranked:
        return None
    n = len(ranked)
    return Spread(n, sum(ranked) / n, ranked[(n + 1) // 2 - 1], ranked[-(-n * 19 // 20) - 1], ranked[-1])
