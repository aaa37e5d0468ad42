"""What the batch tier keeps of each participant between its outages: one row of each array."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

from .explicit import LONG_AGO
from .population import Floats
from .retries import NOT_YET


class Mode(IntEnum):
    """Who carries a participant now."""

    STEADY = 0
    """No one needs to: nothing happens to it before its next outage."""
    RETURNING = 1
    """The batch tier: its request is on its way."""
    EXPLICIT = 2
    GONE = 3
    """It gave up."""


@dataclass(eq=False)
class States:
    """``n`` participants; every array has the shape (n,). 72 bytes each.

    ``mode``: uint8 of :class:`Mode`. ``origin``, ``heard``, ``ping``: see ``steady.Steady``. ``restored``: begin of the
    session. ``incident``, ``attempt``, ``lost``, ``previous``, ``waited``: the retry policy's state, as a session that
    ends too soon continues it. ``connection_no``: how many connections the server attached.
    ``resent``: whether answers to the quiz were sent again at ``origin``.
    """

    mode: npt.NDArray[np.uint8]
    origin: Floats
    heard: Floats
    ping: Floats
    restored: Floats
    lost: Floats
    previous: Floats
    waited: Floats
    incident: npt.NDArray[np.int32]
    connection_no: npt.NDArray[np.int32]
    attempt: npt.NDArray[np.int16]
    resent: npt.NDArray[np.bool_]

    @classmethod
    def attached(cls, first_pings: Floats) -> States:
        """Everyone has been open for long at instant 0."""
        n = len(first_pings)
        return cls(
            np.full(n, Mode.STEADY, np.uint8),
            np.zeros(n),
            np.zeros(n),
            first_pings,
            np.full(n, LONG_AGO),
            np.zeros(n),
            np.full(n, NOT_YET),
            np.full(n, NOT_YET),
            np.ones(n, np.int32),
            np.ones(n, np.int32),
            np.zeros(n, np.int16),
            np.zeros(n, np.bool_),
        )
