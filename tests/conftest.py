"""What every test gets: repeatable Hypothesis, signals, the root of the checkout, a Toxiproxy found or built once.

With ``pytest --dist loadfile`` the tests of real processes and sockets, which mostly wait, run one after another in two
processes while others compute.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from hypothesis import settings
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

from chaos.toxiproxy.provision import Binary, find_toxiproxy

# A gate gives the same answer twice: examples follow from the test alone. Time limits are pytest-timeout's.
settings.register_profile("gate", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("gate")


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder that holds pyproject.toml."""
    return Path(__file__).resolve().parent.parent


BUILD_S = 900


def pytest_configure() -> None:
    """Heed Ctrl-C, which a job in the background ignores, and a lost terminal, which one under ``nohup`` does.

    Each command that a test starts and interrupts would ignore them, too.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


REAL = ("chaos", "conformance")
"""The groups of tests that use real processes and mostly wait; those of `tests/browser` also keep a processor busy."""


class RealTestsTogether(LoadFileScheduling):  # type: ignore[misc]
    """Gives the tests of real processes to one process for each group, and first.

    The others are given file by file to whichever process is free.
    """

    def _split_scope(self, nodeid: str) -> str:
        file, _, name = nodeid.partition("::")
        if file.startswith("tests/chaos/"):
            return "chaos"
        if file.startswith("tests/conformance/") and "_real_" in name:  # the others of such a file compute
            return "conformance"
        scope: str = super()._split_scope(nodeid)
        return scope

    def _assign_work_unit(self, node: WorkerController) -> None:
        for group in REAL:
            if group in self.workqueue:
                self.workqueue.move_to_end(group, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> RealTestsTogether:
    """Called by pytest-xdist, if tests are to run in several processes."""
    return RealTestsTogether(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test comes first may have to build the proxy, which takes a minute or more."""
    for item in items:
        if "binary" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(BUILD_S))


@pytest.fixture(scope="session")
def binary() -> Binary:
    """The proxy's binary, from wherever a run would have it."""
    return find_toxiproxy(None)
