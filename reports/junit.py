"""JUnit XML: test suites of runs, from summaries. Names are unique within a suite; nothing undecided is green."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from xml.etree import ElementTree as ET

from resilience.eventlog.vocabulary import Verdict
from resilience.lab.run_directory import RunStatus

from . import findings, formatting
from .pages import printable
from .summary import ExpectationResult, Summary


@dataclass(frozen=True)
class JUnitCase:
    """One test case: inconclusive is an error, so never green; not applicable is skipped."""

    kind: str
    name: str
    verdict: Verdict
    detail: str | None


def to_junit(summary: Summary) -> bytes:
    """The run's suite: test cases for the run, its verdict, its laboratory, each expectation and each invariant."""
    name = f"{summary.experiment} ({summary.lane.value})"
    return to_xml([make_suite(name, summary.started_at, summary.wall_s or 0.0, run_cases(summary))])


def make_suite(name: str, timestamp: str, seconds: float, cases: Iterable[JUnitCase]) -> ET.Element:
    """One suite. Its first case has the time that the suite took; judging takes none."""
    suite = ET.Element("testsuite", name=name, timestamp=timestamp)
    names: set[tuple[str, str]] = set()
    for case in cases:
        _add_case(suite, case, _unique(names, case.kind, case.name))
    suite[0].set("time", f"{seconds:.3f}")
    suite.set("time", suite[0].get("time", "0"))
    for key, tag in (
        ("tests", "testcase"),
        ("failures", ".//failure"),
        ("errors", ".//error"),
        ("skipped", ".//skipped"),
    ):
        suite.set(key, str(len(suite.findall(tag))))
    return suite


def to_xml(suites: Iterable[ET.Element]) -> bytes:
    """The document of some suites."""
    root = ET.Element("testsuites")
    root.extend(suites)
    for node in root.iter():
        node.attrib.update({name: printable(text) for name, text in node.attrib.items()})
    ET.indent(root)
    return bytes(ET.tostring(root, encoding="utf-8", xml_declaration=True))


def run_cases(summary: Summary) -> Iterator[JUnitCase]:
    """The cases of one run; the run itself comes first."""
    completed = Verdict.PASS if summary.status == RunStatus.COMPLETED else Verdict.INCONCLUSIVE
    yield JUnitCase("run", "completed", completed, summary.cause)
    lab = summary.laboratory
    objections = "; ".join((*lab.failures, *lab.doubts))
    yield JUnitCase("run", "laboratory", Verdict.INCONCLUSIVE if objections else Verdict.PASS, objections)
    said = " ".join((findings.banner(summary).said, *findings.why(summary)))
    yield JUnitCase("run", "verdict", summary.verdict, said)
    yield from map(expectation_case, summary.expectations)
    for check in summary.invariants:
        yield JUnitCase("invariant", check.name, check.verdict, check.detail)


def expectation_case(item: ExpectationResult) -> JUnitCase:
    """The case of one expectation."""
    bounds = formatting.interval(item.metric, item.low, item.high)
    detail = f"{formatting.measured(item)}, interval {bounds}, n = {item.n} ({item.population}). {item.note or ''}"
    return JUnitCase(
        "expectation", f"{formatting.scope(item)} {formatting.target(item)}", item.verdict, detail.rstrip()
    )


def _unique(names: set[tuple[str, str]], kind: str, name: str) -> str:
    """The name, with a number if this kind of case has it already."""
    number, found = 1, name
    while (kind, found) in names:
        number += 1
        found = f"{name} ({number})"
    names.add((kind, found))
    return found


def _add_case(suite: ET.Element, case: JUnitCase, name: str) -> None:
    node = ET.SubElement(suite, "testcase", classname=f"{suite.get('name')}.{case.kind}", name=name, time="0")
    if case.verdict is Verdict.NOT_APPLICABLE:
        ET.SubElement(node, "skipped", message=case.detail or case.verdict.value)
    elif case.verdict is not Verdict.PASS:
        tag = "failure" if case.verdict is Verdict.FAIL else "error"
        ET.SubElement(node, tag, message=case.detail or case.verdict.value, type=case.verdict.value)
