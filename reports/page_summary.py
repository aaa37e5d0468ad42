"""What pages of the quiz showed their people, as values: the part of a run's summary that only browsers fill."""

from __future__ import annotations

import msgspec


class ShownDelay(msgspec.Struct, frozen=True, kw_only=True):
    """Times until pages showed something, seconds; ``n`` of them, null where it is 0."""

    n: int
    least: float | None = None
    median: float | None = None
    most: float | None = None


class ShownStates(msgspec.Struct, frozen=True, kw_only=True):
    """What pages showed in the ``episodes`` of one kind of ``fault``; ``n`` counts those in which they showed it.

    ``to_amber_s``: from the fault to the banner; ``to_red_s``: from the fault to the banner that says that the page has
    given up; ``to_live_s``: from the moment in which the link was usable again to the end of the banner.
    """

    fault: str
    episodes: int
    to_amber_s: ShownDelay
    to_red_s: ShownDelay
    to_live_s: ShownDelay


class PageResults(msgspec.Struct, frozen=True, kw_only=True):
    """What pages of the quiz showed the people of these ``cohorts``, and the outcome of their answers.

    ``answers``: accepted; ``lost``: of these, not in the database, null where none was kept; ``counted_twice``:
    questions for which two answers of one participant were accepted. ``said_saved``: how often a page called an answer
    or a place saved, was back later, and it is known whether that was kept; ``falsely_saved``: of these, gone.
    """

    cohorts: tuple[str, ...]
    pages: int
    by_fault: tuple[ShownStates, ...]
    answers: int
    lost: int | None
    counted_twice: int
    said_saved: int
    falsely_saved: int
