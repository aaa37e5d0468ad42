"""The check of the laboratory itself: were the faults real? Never a failure of the system. Believes the canaries."""

from __future__ import annotations

from resilience.eventlog.vocabulary import LogEventKind

from ..checking import CheckResult, named_rows
from ..frames import RunHistory
from ..windows import windows_frame
from .selection import select


def faults_confirmed(history: RunHistory) -> CheckResult:
    """The canary saw every planned fault begin and end. Concerns the laboratory only, so it is never a failure."""
    windows = windows_frame(history)
    failures = named_rows(select(history, LogEventKind.HARNESS_FAILED, columns=("ref", "cause")))
    problems = [f"{failure.ref or 'the run'}: {failure.cause}" for failure in failures]
    checks = (
        (windows["invalid"].notna(), "invalid"),
        (windows["fault_at"].isna(), "planned but not injected"),
        (windows["confirmed_at"].isna(), "no canary saw it begin"),
        (windows["cleared_at"].isna(), "no canary saw the link usable again"),
    )
    for bad, why in checks:
        problems += [f"{fault_id}: {why}" for fault_id in windows.loc[bad, "fault_id"]]
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if problems:
        return CheckResult(len(windows), unknown=f"{problems[0]}{more}")
    return CheckResult(len(windows), inapplicable=None if len(windows) else "the experiment has no fault")
