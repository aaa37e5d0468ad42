"""Renders a page from its template: one file, no script, no network. Knows no result."""

from __future__ import annotations

from pathlib import Path

import jinja2

from resilience.errors import UsageError

from . import formatting


def render_page(template: str, **values: object) -> str:
    """The page of a template in ``reports/templates``, everything escaped that is not a chart."""
    env = jinja2.Environment(
        loader=jinja2.PackageLoader("reports"), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    env.lstrip_blocks = True
    env.globals.update(formatting=formatting)
    page: str = env.get_template(template).render(**values)
    return page


def write_files(out: Path, files: dict[str, bytes | str], what: str) -> None:
    """Write each file into ``out``, which is made; :class:`~resilience.errors.UsageError` in one line if it cannot."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (out / name).write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError as error:
        raise UsageError(f"{out}: cannot write {what}: {error.strerror}") from error
