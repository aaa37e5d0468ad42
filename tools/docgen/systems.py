"""The ready-made systems of ``docs/systems.md``: what each one is and how it is set."""

from __future__ import annotations

from chaos.systems.system import bundled_systems
from docgen.sources import table


def ready_made() -> str:
    """A row for each system."""
    rows = [[f"`{name}`", system.title, system.settings] for name, system in bundled_systems().items()]
    return table(["name", "what it is", "settings"], rows)
