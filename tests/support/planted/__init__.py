"""Defects that a quiz server may have, by subject; the experiment under which each shows; a server that has some.

``server`` serves with planted defects in a process of its own; tests of the virtual lane plant them in this one. Only
the server's classes are touched.
"""

from __future__ import annotations

from . import answers, identities, presence, snapshots, stream

SUBJECTS = (answers, stream, snapshots, identities, presence)

DEFECTS = {defect.name: defect for subject in SUBJECTS for defect in subject.DEFECTS}
"""Every defect by its name."""
