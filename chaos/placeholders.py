"""The words in braces that a command in an experiment may hold, and the programs that must be there for them.

``{python}`` the interpreter of this program; ``{examples}`` the folder of the servers and drivers that ship with it;
``{systems}`` the folder of the ready-made systems' programs in Node.js; ``{centrifugo}`` the Centrifugo server. The
last two are fetched or built once, into the cache. Where they are does not depend on whether they are there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from resilience.experiment.drivers import StdioDriver
from resilience.experiment.spec import Experiment
from resilience.experiment.targets import CommandTargetSpec

from .cached_builds import Env, Say, default_cache_dir, silent
from .systems.centrifugo import centrifugo_binary, provide_centrifugo
from .systems.node_programs import node_folder, provide_node_programs

EXAMPLES = Path(__file__).parent / "drivers" / "examples"
"""The servers and drivers that ship with the program."""

_PLACES: Mapping[str, Callable[[Path], object]] = {
    "{python}": lambda _: sys.executable,
    "{examples}": lambda _: EXAMPLES,
    "{systems}": node_folder,
    "{centrifugo}": centrifugo_binary,
}
"""By placeholder: what stands for it, by the folder of the cache."""

_PROVIDERS: Mapping[str, Callable[[Path, Env, Say], None]] = {
    "{systems}": provide_node_programs,
    "{centrifugo}": provide_centrifugo,
}


def fill_placeholders(words: Sequence[str], env: Env | None = None) -> list[str]:
    """The words with each placeholder replaced; provides nothing."""
    cache, filled = default_cache_dir(env), list(words)
    for placeholder, place in _PLACES.items():
        if any(placeholder in word for word in filled):
            value = str(place(cache))
            filled = [word.replace(placeholder, value) for word in filled]
    return filled


def provide_programs(experiment: Experiment, *, env: Env | None = None, say: Say = silent) -> None:
    """:func:`provide_words` for the commands of an experiment."""
    provide_words(tuple(_words(experiment)), env=env, say=say)


def provide_words(words: Sequence[str], *, env: Env | None = None, say: Say = silent) -> None:
    """Have every program that a command names; fetches or builds what is not there, with progress.

    Raises :class:`~resilience.errors.HarnessError` with what failed and the remedy.
    """
    env = os.environ if env is None else env
    for placeholder, provide in _PROVIDERS.items():
        if any(placeholder in word for word in words):
            provide(default_cache_dir(env), env, say)


def _words(experiment: Experiment) -> Iterator[str]:
    if isinstance(experiment.target, CommandTargetSpec):
        yield from (*experiment.target.command, *experiment.target.environment.values())
    for driver in experiment.drivers_in_use.values():
        if isinstance(driver, StdioDriver):
            yield from driver.command
