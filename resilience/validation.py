"""The rules for texts, and where and why msgspec rejected a value. Pure; the only place that reads its error texts.

msgspec offers the place and the rule only as English text, such as "Expected `int`, got `str` - at `$.parts[0].at`". A
test guards the format. A text's pattern is a rule for programs; each has its words for people here.
"""

from __future__ import annotations

import msgspec

_CONTROL = r"\x00-\x1f\x7f-\x9f"
_MISLEADING = r"\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
"""Line breaks, changes of the writing direction, halves of characters."""
_INVISIBLE = (
    r"\s\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2060-\u206f\u2800\u3164\ufe00-\ufe0f"
    r"\ufeff\uffa0\ufff9-\ufffb\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
"""Spaces, and what Unicode ignores when it has no glyph; they may stand between visible characters."""

PRINTABLE = rf"\A[^{_CONTROL}]*\Z"
"""No control characters: they break terminals and logs, and some databases reject them."""

VISIBLE = rf"\A(?=.*[^{_INVISIBLE}])[^{_CONTROL}{_MISLEADING}]*\Z"
"""A text that people tell from others: it shows something, and changes nothing around it."""

RULES_IN_WORDS = {
    PRINTABLE: "no control characters",
    VISIBLE: "at least one visible character, and none that breaks the line or changes the writing direction",
}
"""Each pattern as what a text must have."""


class Violation(msgspec.Struct, frozen=True):
    """One broken rule.

    ``path`` is the dotted place of the value, empty for the value as a whole; ``field`` is the field that is missing or
    unknown there, if that is what is wrong; ``rule`` is msgspec's sentence without the place, or words for people where
    that is a pattern or a codec's message.
    """

    path: str
    field: str
    rule: str

    def key(self, prefix: str = "") -> str:
        """The dotted key of what is wrong, below ``prefix``."""
        return ".".join(part for part in (prefix, self.path, self.field) if part)

    @property
    def clause(self) -> str:
        """The rule as a clause after a colon: its first letter in lower case."""
        return self.rule[:1].lower() + self.rule[1:]


def violation_of(error: Exception) -> Violation:
    """Read an error that msgspec raised; any other error is a rule without a place."""
    if isinstance(error, UnicodeError):
        return Violation("", "", "Expected text in UTF-8")
    rule, _, where = str(error).partition(" - at `$")
    rule = _WORDS.get(rule, rule)
    field = rule.split("`")[1] if "field `" in rule else ""
    return Violation(where.rstrip("`").removesuffix("[...]").lstrip("."), field, rule)


_WORDS = {f"Expected `str` matching regex {p!r}": f"Expected `str` with {words}" for p, words in RULES_IN_WORDS.items()}


def one_line(text: str) -> str:
    """Text from a file for a message of one line: line breaks are shown escaped."""
    return text.replace("\n", "\\n").replace("\r", "\\r")
