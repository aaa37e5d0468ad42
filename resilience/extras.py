"""The optional parts of an installation: which packages each one brings, and what to install when one is missing.

The server and the clients need none of them. A command of the laboratory checks its extra before it does anything, so
that no run ends without the report that it was made for.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

from resilience.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")

_ANALYSIS = ("matplotlib", "numpy", "pandas", "pyarrow", "scipy")

EXTRAS: Mapping[str, tuple[str, ...]] = {
    "reports": _ANALYSIS,
    "sim": (*_ANALYSIS, "simpy"),
    "planning": (*_ANALYSIS, "SALib", "optuna", "simpy"),
    "cluster": (*_ANALYSIS, "distributed", "simpy"),
    "chaos": (*_ANALYSIS, "requests", "toxiproxy"),
    "chromium": (*_ANALYSIS, "playwright", "requests", "toxiproxy"),
    "postgres": ("psycopg",),
}
"""By the name of an extra: the modules that its packages bring."""


def needs_extra(extra: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a command: it ends with :class:`~resilience.errors.UsageError` where a package of its extra is missing.

    Its help and the names of its options need no extra.
    """

    def decorate(command: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(command)
        def checked(*arguments: P.args, **options: P.kwargs) -> R:
            advice = missing_of(extra)
            if advice is not None:
                raise UsageError(advice)
            return command(*arguments, **options)

        return checked

    return decorate


def missing_of(extra: str) -> str | None:
    """What to install, in one line, where a package of this extra is missing; ``None`` where all are there."""
    missing = [module for module in EXTRAS[extra] if not _is_installed(module)]
    return _advice(missing, extra) if missing else None


def missing_package(error: ModuleNotFoundError) -> str | None:
    """What to install so that this import works, in one line; ``None`` if the module belongs to no extra."""
    module = (error.name or "").partition(".")[0]
    extras = [extra for extra, modules in EXTRAS.items() if module in modules]
    return _advice([module], extras[0]) if extras else None


def _advice(modules: list[str], extra: str) -> str:
    verb, pronoun = ("is", "it") if len(modules) == 1 else ("are", "them")
    return (
        f"this command needs {', '.join(modules)}, which {verb} not installed; "
        f"install {pronoun} with: pip install 'quiz-resilience[{extra}]'"
    )


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
