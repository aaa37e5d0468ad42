"""Reads the text files that people write: UTF-8, with or without the mark that some editors put in front of it.

Every file that a person may have edited is read here. The evidence of a run is not: it is compared byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.resources.abc import Traversable
from pathlib import Path


def read_text(path: Path) -> str:
    r"""The text of a file; a byte order mark is no part of it, and each ``\r\n`` or ``\r`` is read as ``\n``.

    Raises ``OSError`` for a file that cannot be read and ``ValueError`` for one that is not UTF-8, or for a name that
    no file can have.
    """
    return path.read_text(encoding="utf-8-sig")


def read_named(path: Path, wrong: Callable[[str], Exception]) -> str:
    """The text of a file that a user named; raises what ``wrong`` makes of the reason why it cannot be read."""
    try:
        return read_text(path)
    except FileNotFoundError:
        raise wrong("no such file") from None
    except (OSError, ValueError) as error:  # no text, or no name that a file can have
        raise wrong(f"cannot be read: {error}") from error


def bundled_texts(folder: Traversable, suffix: str = ".toml") -> dict[str, str]:
    """The texts that a package ships in a folder, by their files' names without ``suffix``, in the order of the names.

    They are no person's to edit, and are read strictly: UTF-8 without a mark.
    """
    found = sorted((item for item in folder.iterdir() if item.name.endswith(suffix)), key=lambda item: item.name)
    return {item.name.removesuffix(suffix): item.read_text(encoding="utf-8") for item in found}
