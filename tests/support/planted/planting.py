"""What a planted defect is, and how it is declared: a function next to the method of the server that it replaces.

The name of a defect is that of its function. Whatever a defect remembers begins again each time that it is planted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

Patch = Callable[[Any, str, Any], None]
"""``setattr``, or that of a ``pytest.MonkeyPatch``."""

Sound = Callable[..., Any]
"""The method that a defect replaces; the first argument of what replaces it."""


class Planter:
    """Puts broken methods in place of sound ones."""

    def __init__(self, patch: Patch) -> None:
        self._patch = patch

    def replace(self, owner: type, method: str, broken: Sound) -> None:
        """Call ``broken`` with the sound method and its arguments."""
        sound = getattr(owner, method)
        self._patch(owner, method, lambda *arguments, **more: broken(sound, *arguments, **more))

    def instead_of(self, owner: type, method: str) -> Callable[[Sound], Sound]:
        """Decorate what replaces a method."""

        def decorate(broken: Sound) -> Sound:
            self.replace(owner, method, broken)
            return broken

        return decorate


PLANTED, TABS = "planted", "tabs"
"""The experiments under which defects show."""


class Defect(NamedTuple):
    """One defect: what is wrong, the check that names it, how it is planted, under which experiment it shows."""

    name: str
    what: str
    check: str
    plant_with: Callable[[Planter], None]
    experiment: str = PLANTED

    def plant(self, patch: Patch) -> None:
        """Break the server's classes."""
        self.plant_with(Planter(patch))


class Catalogue(list[Defect]):
    """The defects of one subject, each added by the decorator of its function; all show under one experiment."""

    def __init__(self, experiment: str = PLANTED) -> None:
        super().__init__()
        self.experiment = experiment

    def defect(self, what: str, *, check: str) -> Callable[[Callable[[Planter], None]], Callable[[Planter], None]]:
        """Declare a defect of several methods, or with a memory; its function receives a planter."""

        def decorate(plant: Callable[[Planter], None]) -> Callable[[Planter], None]:
            self._declare(plant.__name__, what, check, plant)
            return plant

        return decorate

    def method(self, owner: type, method: str, what: str, *, check: str) -> Callable[[Sound], Sound]:
        """Declare a defect by what replaces one method."""

        def decorate(broken: Sound) -> Sound:
            self._declare(broken.__name__, what, check, lambda planter: planter.replace(owner, method, broken))
            return broken

        return decorate

    def result(self, owner: type, method: str, what: str, *, check: str) -> Callable[[Sound], Sound]:
        """Declare a defect by what changes the result of one method."""

        def decorate(change: Sound) -> Sound:
            def broken(sound: Sound, *arguments: object, **more: object) -> object:
                return change(sound(*arguments, **more))

            self._declare(change.__name__, what, check, lambda planter: planter.replace(owner, method, broken))
            return change

        return decorate

    def _declare(self, name: str, what: str, check: str, plant: Callable[[Planter], None]) -> None:
        self.append(Defect(name, what, check, plant, self.experiment))


def every(n: int) -> Callable[[], bool]:
    """Whether this is an ``n``-th call."""
    calls = 0

    def due() -> bool:
        nonlocal calls
        calls += 1
        return calls % n == 0

    return due
