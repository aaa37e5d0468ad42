"""Regenerates the parts of ``docs/*.md`` and ARCHITECTURE.md that are made from the code, and the summary's schema.

Run by ``make docs``.

Such a part is between ``<!-- generated: NAME -->`` and ``<!-- end -->``. Everything else stays unchanged, so a second
run changes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

from docgen import (
    architecture,
    browser,
    calibration,
    catalogue,
    configuration,
    diagram_scenarios,
    diagrams,
    drivers,
    evidence,
    faults,
    handshakes,
    network_profiles,
    protocol,
    systems,
)

from reports.schema import FILE_NAME, encoded_schema
from resilience.config import ClientConfig, QuizConfig, ServerConfig
from resilience.experiment.costs import ModelCosts

DOCS = Path(__file__).resolve().parent.parent / "docs"
ARCHITECTURE = DOCS.parent / "ARCHITECTURE.md"
SUMMARY_SCHEMA = DOCS.parent / "reports" / FILE_NAME

PARTS: dict[str, Callable[[], str]] = {
    "client messages": lambda: protocol.messages(protocol.CLIENT),
    "host messages": lambda: protocol.messages(protocol.HOST),
    "server messages": lambda: protocol.messages(protocol.SERVER),
    "parts": protocol.parts,
    "words": protocol.words,
    "close codes": protocol.close_codes,
    "retry classes": protocol.retry_classes,
    "handshake statuses": protocol.handshake_statuses,
    "conversation: join": diagram_scenarios.join,
    "conversation: resume": diagram_scenarios.resume,
    "conversation: fencing": diagram_scenarios.fencing,
    "conversation: lost acknowledgement": diagram_scenarios.lost_ack,
    "conversation: host": diagram_scenarios.host,
    "server settings": lambda: configuration.reference(ServerConfig),
    "quiz settings": lambda: configuration.reference(QuizConfig),
    "client settings": lambda: configuration.reference(ClientConfig),
    "client presets": configuration.presets,
    "costs": lambda: configuration.reference(ModelCosts),
    "flags": configuration.options,
    "refusals": configuration.refusals,
    "server example": lambda: configuration.example((ServerConfig, QuizConfig)),
    "client example": lambda: configuration.example((ClientConfig,)),
    "client states": diagrams.client_states,
    "session states": diagrams.session_states,
    "server connection states": diagrams.server_connection_states,
    "phases": diagrams.phases,
    "handshakes": handshakes.rejections,
    "verdicts": evidence.verdicts,
    "tokens": evidence.tokens,
    "return windows": evidence.windows,
    "invariants": evidence.invariants,
    "experiments": catalogue.experiments,
    "failure modes shown": catalogue.modes,
    "browser figures": browser.figures,
    "driver settings": drivers.settings,
    "driver orders": lambda: drivers.messages(drivers.ORDERS),
    "driver reports": lambda: drivers.messages(drivers.REPORTS),
    "driver states": drivers.states,
    "driver limits": drivers.limits,
    "driver in Python": lambda: drivers.example("reconnecting.py", "python"),
    "driver in JavaScript": lambda: drivers.example("reconnecting.mjs", "javascript"),
    "driver in Chromium": lambda: drivers.example("reconnecting.html", "html"),
    "ready-made systems": systems.ready_made,
    "fault kinds": faults.kinds_table,
    "fault declarations": faults.declarations,
    "fault example": faults.example,
    "shipped calibration": calibration.shipped,
    "network profile figures": network_profiles.figures,
    "network profile parameters": network_profiles.parameters,
}

PARTS |= {f"modules of {package}": partial(architecture.modules, package) for package in architecture.PACKAGES}

_PART = re.compile(r"(<!-- generated: ([\w:/ -]+?) -->\n).*?(<!-- end -->)", re.DOTALL)
_MARKER = re.compile(r"<!-- (generated: .*?|end) -->")


def regenerated(text: str) -> str:
    """The page with its parts generated again; ``ValueError`` names an unknown part or an unpaired marker."""
    names = [name for _, name, _ in _PART.findall(text)]
    unknown = [name for name in names if name not in PARTS]
    if unknown or len(_MARKER.findall(text)) != 2 * len(names):
        raise ValueError(f"no such part: {unknown[0]}" if unknown else "a marker without its partner")
    return _PART.sub(lambda part: f"{part.group(1)}\n{PARTS[part.group(2)]()}\n\n{part.group(3)}", text)


def pages() -> list[Path]:
    """Every page of the documentation."""
    return [ARCHITECTURE, *sorted(DOCS.glob("*.md"))]


def main() -> None:
    """Rewrite the pages that have changed and print which; write the schema."""
    for page in pages():
        before = page.read_text(encoding="utf-8")
        after = regenerated(before)
        if after != before:
            page.write_text(after, encoding="utf-8")
        print(f"{page.name}: {'unchanged' if after == before else 'rewritten'}")
    SUMMARY_SCHEMA.write_bytes(encoded_schema())


if __name__ == "__main__":
    main()
