"""Bundled modules: one script, each module once and after what it imports, and nothing that is not understood."""

from __future__ import annotations

import pytest

from resilience.server.bundle import BundleError, bundle

MODULES = {
    "pages/a.js": (
        '/** A page. */\n\nimport { one, two as second } from "../lib/b.js";\n'
        'import * as all from "../lib/c.js";\nrun(one);\n'
    ),
    "lib/b.js": (
        'import {\n  three,\n} from "./c.js";\nexport const one = 1;\n// ---\nexport async function two() {}\n'
    ),
    "lib/c.js": "/* a licence */\nvar t=3;function f(){}export{t as three,f as run};\n",
    "lib/unused.js": "nothing",
}


def test_every_module_is_there_once_and_after_what_it_imports() -> None:
    assert bundle("pages/a.js", MODULES) == (
        "// lib/c.js\n"
        "const $module0 = (() => {\n/* a licence */\nvar t=3;function f(){}\nreturn { three: t, run: f };\n})();\n"
        "// lib/b.js\n"
        "const $module1 = (() => {\nconst {\n  three,\n} = $module0;\nconst one = 1;\nasync function two() {}\n\n"
        "return { one, two };\n})();\n"
        "// pages/a.js\n"
        "const $module2 = (() => {\n\nconst { one, two: second } = $module1;\nconst all = $module0;\nrun(one);\n\n"
        "return {  };\n})();\n"
    )


def test_a_comment_ends_where_it_ends() -> None:
    """Code between two comments stays, as does a type in front of what it describes."""
    source = "/** One. */\nfirst();\n  /** @type {X} */ let x;\n/**\n * Two.\n */\nlast();\n"
    text = bundle("a.js", {"a.js": source})
    assert "first();\n  /** @type {X} */ let x;\nlast();\n" in text
    assert "Two" not in text


@pytest.mark.parametrize(
    "source, problem",
    [
        ('import { x } from "./gone.js";\n', "a.js: imports gone.js, which does not exist"),
        ('import { x } from "./b.js";\n', "a.js: imports itself by way of b.js"),
        ('import x from "./b.js";\n', "of no known form"),
        ('import { x } from "elsewhere";\n', "of no known form"),
        ("export let x = 1;\n", "of no known form"),
        ("export default 1;\n", "of no known form"),
        ('import { two } from "./c.js";\n', "a.js: imports two, which c.js does not export"),
        ('import {\n  one,\n  three as x,\n} from "./c.js";\n', "a.js: imports three, which c.js does not export"),
    ],
)
def test_what_is_not_understood_is_refused_with_its_module(source: str, problem: str) -> None:
    with pytest.raises(BundleError, match=problem):
        bundle(
            "a.js",
            {"a.js": source, "b.js": 'import { y } from "./a.js";\n', "c.js": "export const one = 1, two = 2;\n"},
        )


def test_an_entry_that_does_not_exist_is_refused() -> None:
    with pytest.raises(BundleError, match="does not exist"):
        bundle("a.js", {})
