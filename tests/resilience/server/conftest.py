"""Databases to store in: a file, memory, and a PostgreSQL of the tests' own."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from resilience.server.store import MEMORY, SqlStore
from tests.support.postgres import NOT_FOUND, Cluster, binaries, cluster


@pytest.fixture(scope="session")
def postgres() -> Iterator[Cluster]:
    """A running PostgreSQL; where none is installed its tests are skipped, or fail where ``CI`` says so."""
    programs = binaries()
    if programs is None:
        if os.environ.get("CI") == "true":
            pytest.fail(NOT_FOUND)
        pytest.skip(NOT_FOUND)
    with cluster(programs) as running:
        yield running


@pytest.fixture
def postgres_url(postgres: Cluster) -> Iterator[str]:
    """An empty PostgreSQL database."""
    with postgres.database() as url:
        yield url


@pytest.fixture
def file_url(tmp_path: Path) -> str:
    """A database file that is not there yet."""
    return f"sqlite:///{tmp_path / 'quiz.db'}"


@pytest.fixture(params=["file", "postgres"])
def shared_url(request: pytest.FixtureRequest) -> str:
    """An empty database that several stores may open."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


@pytest.fixture(params=["file", "memory", "postgres"])
def store(request: pytest.FixtureRequest) -> Iterator[SqlStore]:
    """A store on an empty database."""
    url = MEMORY if request.param == "memory" else request.getfixturevalue(f"{request.param}_url")
    with closing(SqlStore(url)) as opened:
        yield opened
