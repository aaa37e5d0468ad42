"""Makes the pictures of ``docs/reports.md`` and the README: runs of the model lane, in a headless browser.

Four runs of the demo, each with another end: their first screens, and more of the first one's page for the README.

Run as ``.venv/bin/python tools/report_pictures.py``. Needs Chromium (``CHROMIUM`` names it, or it is found in PATH) and
Pillow, which comes with matplotlib.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).resolve().parent.parent / "docs"
FIRST_SCREEN = (1000, 900)
TO_THE_TIMELINE = (1100, 2196)
"""As far as the end of the first chart, for the README."""
COLOURS = 96

RUNS: dict[str, tuple[str, ...]] = {
    "pass": (),
    "fail": ("--set", "client.attempts=6"),
    "inconclusive": ("--scale", "0.1"),
    "harness-failed": ("--set", "hypothesis.within=3", "--set", "server.join_capacity=20"),
}
"""Options of each run: none; clients that give up early; too few clients; a server that is too slow to start."""

_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)


def browser() -> str:
    """Chromium's path; ends the program with one line if there is none."""
    names = (os.environ.get("CHROMIUM", "chromium"), "chromium-browser", "google-chrome")
    found = next((path for name in names if (path := shutil.which(name))), None)
    if found is None:
        sys.exit("no Chromium found: set CHROMIUM to its path")
    return found


def report_of(name: str, options: tuple[str, ...], folder: Path) -> Path:
    """The page of a run of the demo with these options; it shows no path of this machine."""
    out = f"runs/{name}"
    command = [sys.executable, "-m", "resilience", "sim", "run", "demo", "--lane", "model", *options, "--out", out]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL, cwd=folder)  # the exit code is the run's verdict
    return folder / out / "report.html"


def photograph(page: Path, picture: Path, size: tuple[int, int], folder: Path) -> None:
    """The top of the page as a PNG of few colours."""
    raw = folder / "raw.png"
    command = [browser(), *_FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={size[0]},{size[1]}"]
    subprocess.run([*command, f"--screenshot={raw}", page.as_uri()], check=True, stderr=subprocess.DEVNULL)
    with Image.open(raw) as image:
        image.convert("RGB").quantize(COLOURS).save(picture, optimize=True)
    print(f"{picture.relative_to(DOCS)}: {picture.stat().st_size // 1000} kB")


def main() -> None:
    """Make every picture."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pages = {verdict: report_of(verdict, options, folder) for verdict, options in RUNS.items()}
        for verdict, page in pages.items():
            photograph(page, DOCS / "reports" / f"{verdict}.png", FIRST_SCREEN, folder)
        photograph(pages["pass"], DOCS / "report.png", TO_THE_TIMELINE, folder)


if __name__ == "__main__":
    main()
