"""Where and why msgspec rejected a value. Pure; the only place that reads msgspec's error texts.

msgspec offers the place and the rule only as English text, such as "Expected `int`, got `str` - at `$.parts[0].at`". A
test guards the format.
"""

from __future__ import annotations

import msgspec


class Violation(msgspec.Struct, frozen=True):
    """One broken rule.

    ``path`` is the dotted place of the value, empty for the value as a whole; ``field`` is the field that is missing or
    unknown there, if that is what is wrong; ``rule`` is msgspec's sentence without the place.
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
    rule, _, where = str(error).partition(" - at `$")
    field = rule.split("`")[1] if "field `" in rule else ""
    return Violation(where.rstrip("`").removesuffix("[...]").lstrip("."), field, rule)


def one_line(text: str) -> str:
    """Text from a file for a message of one line: line breaks are shown escaped."""
    return text.replace("\n", "\\n").replace("\r", "\\r")
