"""Whether this machine has the browser that a plan with pages needs, and what opening them costs. Starts nothing."""

from __future__ import annotations

from collections.abc import Mapping

from resilience.errors import HarnessError, UsageError
from resilience.extras import missing_of

from ..drivers.chromium.browser import find_chromium
from .finding import Finding
from .needs import FleetNeeds, cost_of_pages

NAME = "chromium"


def browser_findings(needs: FleetNeeds | None, environ: Mapping[str, str]) -> list[Finding]:
    """A finding where some clients are pages in a Chromium; none for any other plan."""
    cost = None if needs is None else cost_of_pages(needs)
    if cost is None:
        return []
    missing = missing_of("chromium")
    if missing is not None:
        return [Finding(NAME, "its driver is not installed", "bad", missing)]
    try:
        program = find_chromium(None, environ)
    except (HarnessError, UsageError) as error:
        return [Finding(NAME, "not found", "bad", str(error))]
    return [Finding(NAME, program, "ok", cost)]
