"""A PostgreSQL of the tests' own: a new cluster in a temporary folder, on a Unix socket, as durable as a real one.

It refuses to run as root, so that for root another user owns it. It dies with the process that started it.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

from .deadlines import HANG_S

SUPERUSER = "postgres"
NOT_FOUND = "PostgreSQL is not installed: neither PATH nor /usr/lib/postgresql has initdb"


def binaries() -> Path | None:
    """The folder of ``initdb`` and ``postgres``: from PATH, else the newest that Debian has installed."""
    found = shutil.which("initdb")
    if found is not None:
        return Path(found).resolve().parent
    installed = [path.parent for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(installed, key=lambda folder: float(folder.parent.name), default=None)


class Cluster:
    """One running server with databases to give out."""

    def __init__(self, folder: Path, password: str) -> None:
        self.folder, self.password = folder, password
        self._made = 0

    def url(self, database: str = "postgres") -> str:
        """What the store is given."""
        return f"postgresql+psycopg://{SUPERUSER}:{self.password}@/{database}?host={self.folder}"

    def execute(self, statement: str) -> list[tuple[object, ...]]:
        """Run one statement as the administrator, outside any transaction; its rows, if it has any."""
        with self._connect() as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def database(self) -> Iterator[str]:
        """An empty database, by URL; dropped at the end, even with open connections."""
        self._made += 1
        name = f"test_{self._made}"
        self.execute(f"CREATE DATABASE {name}")
        try:
            yield self.url(name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def cut(self) -> int:
        """End every other connection, as a restart of the server would; returns how many there were."""
        ended = self.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        return len(ended)

    def wait_until_it_answers(self, server: subprocess.Popen[bytes]) -> None:
        """Return once it takes connections."""
        deadline = time.monotonic() + HANG_S
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                log = (self.folder / "log").read_text(errors="replace")
                assert server.poll() is None, f"PostgreSQL ended:\n{log}"
                assert time.monotonic() < deadline, f"PostgreSQL does not answer:\n{log}"
                time.sleep(0.02)
            else:
                return

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        where = make_conninfo(host=str(self.folder), user=SUPERUSER, password=self.password, dbname="postgres")
        return psycopg.connect(where, autocommit=True)


@contextmanager
def cluster(programs: Path) -> Iterator[Cluster]:
    """A cluster made by the programs of this folder."""
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))
    password = secrets.token_hex(8)
    prefix = _as_its_user(folder)
    try:
        _initialise(prefix, programs, folder, password)
        command = [*prefix, programs / "postgres", "-D", folder / "data", "-k", folder, "-c", "listen_addresses="]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        try:
            made = Cluster(folder, password)
            made.wait_until_it_answers(server)
            yield made
        finally:
            server.terminate()
            server.wait(timeout=HANG_S)
    finally:
        shutil.rmtree(folder)


def _as_its_user(folder: Path) -> list[str | Path]:
    """How to start a program that owns the folder and ends with this process."""
    setpriv = shutil.which("setpriv")
    if os.geteuid() != 0:
        return [setpriv, "--pdeathsig", "INT", "--"] if setpriv else []
    users = {user.pw_name: user for user in pwd.getpwall()}
    user = users.get(SUPERUSER) or users["nobody"]
    os.chown(folder, user.pw_uid, user.pw_gid)
    assert setpriv is not None, "root needs setpriv (util-linux) to run PostgreSQL as another user"
    identity = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"]
    return [setpriv, *identity, "--pdeathsig", "INT", "--"]


def _initialise(prefix: list[str | Path], programs: Path, folder: Path, password: str) -> None:
    secret = folder / "password"
    secret.write_text(f"{password}\n")
    secret.chmod(0o644)  # no other user can enter the folder
    options = ["--auth=scram-sha-256", f"--username={SUPERUSER}", "--encoding=UTF8", "--locale=C.UTF-8"]
    command = [*prefix, programs / "initdb", "-D", folder / "data", f"--pwfile={secret}", *options]
    made = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert made.returncode == 0, made.stdout + made.stderr
