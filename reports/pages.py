"""Renders a page from its template, and writes files. A page is one file, no script, no network. Knows no result."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import jinja2

from resilience.errors import HarnessError

from . import formatting

_ILLEGAL = re.compile("[^\\t\\n\\r\\x20-\\ud7ff\\ue000-\\ufffd\\U00010000-\\U0010ffff]")
"""Characters that XML 1.0 does not allow, not even escaped; text files leave them out too."""


def printable(text: str) -> str:
    """The text without control characters and surrogates, so that every format can hold it."""
    return _ILLEGAL.sub("", text)


def render_page(template: str, **values: object) -> str:
    """The page of a template in ``reports/templates``, everything escaped that is not a chart."""
    loader = jinja2.PackageLoader("reports")
    env = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    env.lstrip_blocks = True
    env.globals.update(formatting=formatting)
    return printable(env.get_template(template).render(**values))


def write_files(out: Path, files: Mapping[str, bytes | str], what: str) -> None:
    """Write each file into ``out``, which is made, all or none; errors as of :func:`failing_in_one_line`."""
    with failing_in_one_line(out, what):
        out.mkdir(parents=True, exist_ok=True)
        with replacing(out, tuple(files)) as fresh:
            write_contents(fresh, files)


def write_contents(out: Path, files: Mapping[str, bytes | str]) -> None:
    """Write each file into ``out``. Raises :class:`OSError` when one cannot be written."""
    for name, content in files.items():
        (out / name).write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def replacing(out: Path, names: Sequence[str]) -> Iterator[Path]:
    """A new directory to write the files ``names`` into; at the end they replace those of ``out``, all or none.

    When one cannot be written, ``out`` has none of them: half a file, or the verdict of an earlier report, would be
    taken for the result. Raises that :class:`OSError`.
    """
    try:
        with tempfile.TemporaryDirectory(dir=out, prefix=".new-") as folder:
            yield Path(folder)
            for name in names:
                (Path(folder) / name).replace(out / name)
    except OSError:
        withdraw(out, names)
        raise


def withdraw(out: Path, names: Iterable[str]) -> None:
    """Remove the files of an earlier report that does not hold any more."""
    for name in names:
        with suppress(OSError):
            (out / name).unlink()


def write_formats(stem: Path, what: str, *, json: bytes, markdown: str, page: str) -> None:
    """Write ``<stem>.json``, ``.md`` and ``.html``, as :func:`write_files`."""
    files: dict[str, bytes | str] = {f"{stem.name}.json": json, f"{stem.name}.md": markdown, f"{stem.name}.html": page}
    write_files(stem.parent, files, what)


@contextmanager
def failing_in_one_line(out: Path, what: str) -> Iterator[None]:
    """Raise what cannot be written inside as :class:`~resilience.errors.HarnessError`, in one line."""
    try:
        yield
    except OSError as error:
        raise HarnessError(f"{out}: cannot write {what}: {error.strerror or error}") from error
