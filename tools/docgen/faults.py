"""The tables of ``docs/faults.md``: every kind of fault as its declaration has it, and its experiment-file example."""

from __future__ import annotations

from typing import Any

import msgspec

from docgen.sources import markdown, summary, table
from resilience.eventlog.vocabulary import Lane
from resilience.experiment.fault_rules import check_values
from resilience.experiment.faults import EVERY_LANE, AnyFault, Fault, FaultEdge, kinds
from resilience.experiment.primitives import FaultTarget, Impose, Lift

SAMPLES: dict[str, Any] = {"duration": 5.0, "delay": 0.1, "rate": 20_000, "size": 64, "after": 100}
"""Values for the keys that a kind needs beyond the schedule's."""

_ENDS = {
    FaultEdge.BEGIN: "all, at the begin",
    FaultEdge.END: "all, by the end",
    None: "none by the fault itself",
}


def kinds_table() -> str:
    """One row for each kind."""
    rows = [
        [
            f"[`{name}`](#{name})",
            kind.target.value,
            ", ".join(f"`{key}`" for key in own_keys(kind)),
            "torn by it after so many bytes" if name == "cut_mid_message" else _ENDS[kind.connections_end],
            _lanes(kind),
        ]
        for name, kind in kinds().items()
    ]
    return table(["kind", "acts on", "keys of its own", "connections that it closes", "lanes"], rows)


def declarations() -> str:
    """What each kind does, by its operations and the symptom that confirms it."""
    rows = []
    for name, kind in kinds().items():
        composition = sample(name).composition
        rows.append(
            [
                f"`{name}`",
                markdown(summary(kind).partition("\n")[0], {}),
                ", ".join(map(_operation, composition.begin)),
                ", ".join(map(_operation, composition.end)),
                markdown(summary(type(composition.symptom)).partition("\n")[0], {}),
            ]
        )
    return table(["kind", "what it does", "at the begin", "at the end", "confirmed when"], rows)


def example() -> str:
    """One fault of each kind, as an experiment file has it."""
    parts = []
    for name in kinds():
        values = {"kind": name, **msgspec.to_builtins(sample(name))}
        shown = {key: value for key, value in values.items() if key in _shown_keys(name)}
        parts.append("[[faults]]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in shown.items()))
    return "```toml\n" + "\n".join(parts) + "```"


def sample(name: str) -> AnyFault:
    """A fault of this kind with every key that it needs; raises ConfigError when the sample breaks a rule."""
    kind: Any = kinds()[name]
    needed = {
        field.name: SAMPLES[field.name]
        for field in msgspec.structs.fields(kind)
        if field.required and field.name != "at"
    }
    if name == "slice":
        needed["delay"] = 0.01
    cohorts = () if kind.target is FaultTarget.SERVER else ("office",)
    at = 10.0 * (1 + list(kinds()).index(name))
    fault: AnyFault = kind(at, cohorts, **needed)
    check_values(name, fault)
    return fault


def own_keys(kind: type[AnyFault]) -> list[str]:
    """The keys that this kind has beyond those of every fault."""
    return [name for name in kind.__struct_fields__ if name not in Fault.__struct_fields__]


def _shown_keys(name: str) -> set[str]:
    kind = kinds()[name]
    needed = {field.name for field in msgspec.structs.fields(kind) if field.required}
    return {"kind", *needed, *(() if kind.target is FaultTarget.SERVER else ("cohorts",))}


def _operation(operation: object) -> str:
    held = operation.condition if isinstance(operation, Impose | Lift) else None
    name = f"{type(operation).__name__} {type(held).__name__}" if held is not None else type(operation).__name__
    return f"`{name}`"


def _lanes(kind: type[AnyFault]) -> str:
    named = "all" if kind.lanes >= EVERY_LANE else " and ".join(lane for lane in Lane if lane in kind.lanes)
    return f"{named} and population" if kind.lanes > EVERY_LANE else named


def _toml(value: object) -> str:
    return msgspec.json.encode(value).decode()
