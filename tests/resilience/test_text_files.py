"""Files as people's editors write them: every reader of the product, every form."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

import resilience
from resilience.client.identity import IdentityFile
from resilience.client.question_file import read_plan
from resilience.errors import ResilienceError
from resilience.experiment.loader import catalogue, load
from resilience.lab.run_directory import read_run_info
from resilience.settings import host_key, server_settings

QUESTIONS = 'title = "Städte"\n[[questions]]\ntext = "Größte?"\nchoices = ["Köln", "München"]\nanswer = "München"\n'
JSON = '{"title": "Städte",\n "questions": [{"text": "?", "choices": ["Köln", "Ulm"], "answer": "Ulm"}]}\n'
IDENTITY = '{"event":"quiz","participant":"p1","token":"t","generation":1}\n'
SETTINGS = "[server]\nheartbeat_interval = 10\n# é\n[quiz]\nquestions = 2\n"

READERS: dict[str, tuple[str, str, Callable[[Path], object]]] = {
    "experiment": (catalogue()["smoke"], "x.toml", lambda path: load(str(path))),
    "questions in TOML": (QUESTIONS, "q.toml", read_plan),
    "questions in JSON": (JSON, "q.json", read_plan),
    "settings": (SETTINGS, "c.toml", lambda path: server_settings(path, {}, {})),
    "host key": ("0123456789abcdef0é\n", "key", lambda path: host_key({}, path)),
    "identity": (IDENTITY, "identity.json", lambda path: IdentityFile(path, "quiz").read()),
}

FORMS: dict[str, Callable[[str], bytes]] = {
    "byte order mark": lambda text: b"\xef\xbb\xbf" + text.encode(),
    "CRLF": lambda text: text.replace("\n", "\r\n").encode(),
    "byte order mark and CRLF": lambda text: b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode(),
    "CR": lambda text: text.replace("\n", "\r").encode(),
    "no final newline": lambda text: text.rstrip("\n").encode(),
}

NOT_TEXT: dict[str, Callable[[str], bytes]] = {
    "UTF-16": lambda text: text.encode("utf-16"),
    "Latin-1": lambda text: (text + "é").replace("ö", "é").encode("latin-1", "replace"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("reader", READERS)
def test_a_file_says_the_same_in_every_form(tmp_path: Path, reader: str, form: str) -> None:
    text, name, read = READERS[reader]
    plain, other = tmp_path / name, tmp_path / "other" / name
    other.parent.mkdir()
    plain.write_bytes(text.encode())
    other.write_bytes(FORMS[form](text))
    assert read(other) == read(plain)


@pytest.mark.parametrize("form", NOT_TEXT)
@pytest.mark.parametrize("reader", READERS)
def test_what_is_no_utf_8_is_refused_in_one_line(tmp_path: Path, reader: str, form: str) -> None:
    text, name, read = READERS[reader]
    path = tmp_path / name
    path.write_bytes(NOT_TEXT[form](text))
    with pytest.raises(ResilienceError, match=name) as caught:
        read(path)
    assert "\n" not in str(caught.value)


def test_the_description_of_a_run_may_have_been_edited(tmp_path: Path) -> None:
    golden = Path(__file__).parent.parent / "golden" / "small"
    run_json = tmp_path / "run.json"
    run_json.write_bytes(b"\xef\xbb\xbf" + (golden / "run.json").read_bytes())
    assert read_run_info(tmp_path) == read_run_info(golden)


def test_settings_that_nest_without_end_are_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("server = " + "[" * 100_000)
    with pytest.raises(ResilienceError, match="cannot be read as TOML"):
        server_settings(path, {}, {})


def test_no_other_module_reads_the_text_of_a_file_strictly() -> None:
    """A new reader uses ``read_text`` of ``text_files``: `path.read_text(encoding="utf-8")` keeps the mark."""
    root = Path(resilience.__file__).parent.parent
    strict = []
    for package in ("resilience", "chaos", "sim", "reports"):
        for path in (root / package).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    encodings = [word.value for word in node.keywords if word.arg == "encoding"]
                    is_utf8 = any(isinstance(e, ast.Constant) and e.value == "utf-8" for e in encodings)
                    if node.func.attr == "read_text" and is_utf8:
                        strict.append(path.relative_to(root).as_posix())
    assert strict == ["resilience/text_files.py"]  # what ships in a package
