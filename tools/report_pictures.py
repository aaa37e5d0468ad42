"""Makes the pictures of ``docs/reports.md``: four runs of the model lane, each with another end, in a headless browser.

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

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "reports"
SIZE = (1000, 900)
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
    """The page of a run of the demo with these options."""
    out = folder / name
    command = [sys.executable, "-m", "resilience", "sim", "run", "demo", "--lane", "model", *options, "--out", str(out)]
    subprocess.run(command, check=False, stdout=subprocess.DEVNULL)  # the exit code is the run's verdict
    return out / "report.html"


def photograph(page: Path, picture: Path, folder: Path) -> None:
    """The page's first screen as a PNG of few colours."""
    raw = folder / "raw.png"
    command = [browser(), *_FLAGS, f"--user-data-dir={folder / 'profile'}", f"--window-size={SIZE[0]},{SIZE[1]}"]
    subprocess.run([*command, f"--screenshot={raw}", page.as_uri()], check=True, stderr=subprocess.DEVNULL)
    with Image.open(raw) as image:
        image.convert("RGB").quantize(COLOURS).save(picture, optimize=True)


def main() -> None:
    """Make every picture."""
    PICTURES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for verdict, options in RUNS.items():
            picture = PICTURES / f"{verdict}.png"
            photograph(report_of(verdict, options, folder), picture, folder)
            print(f"{picture.name}: {picture.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
