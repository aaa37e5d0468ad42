"""Defects of a quiz server or its clients, by subject; the experiment under which each shows; a program with some.

``program`` runs a server, or clients, with planted defects; tests of the virtual lane plant them in this process.
"""

from __future__ import annotations

from . import answers, clients, identities, presence, snapshots, stream, tabs

SUBJECTS = (answers, stream, snapshots, identities, presence, clients, tabs)

DEFECTS = {defect.name: defect for subject in SUBJECTS for defect in subject.DEFECTS}
"""Every defect by its name."""
