"""Which process of the laboratory runs which client: the deal of the real lane, for its model and measurements. Pure.

The clients of a link on whose clients some fault acts have a process of their own; all others are dealt in turn to the
shared ones. It is the deal of one driver: those of several share no process in the real lane, and here they do.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Sequence

from resilience.lab.participants import ParticipantSpec


def deal(participants: Sequence[ParticipantSpec], isolated: Collection[str], shared: int) -> list[int]:
    """The number of each participant's process, from 0; ``shared``: how many share those that are not on ``isolated``.

    0: every participant has a process of its own.
    """
    if not shared:
        return list(range(len(participants)))
    alone = {link: shared + number for number, link in enumerate(sorted(isolated))}
    turns = itertools.cycle(range(shared))
    return [alone[each.link] if each.link in alone else next(turns) for each in participants]
