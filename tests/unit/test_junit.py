"""JUnit documents say what each verdict was, whatever characters it holds."""

from __future__ import annotations

import xml.etree.ElementTree as ET

import pytest

from binas_deploy.report.junit import Case, Outcome, junit_xml


@pytest.mark.parametrize(
    ("outcome", "tag"), [("pass", None), ("fail", "failure"), ("error", "error"), ("skipped", "skipped")]
)
def test_each_outcome_has_its_element(outcome: Outcome, tag: str | None) -> None:
    case = Case("latency", "export/a", outcome, 'over "0.5" <ms> & more', "found 0.6 ms", 1.5)
    root = ET.fromstring(junit_xml("verify", [case]))  # noqa: S314  our own
    (found,) = root.iter("testcase")
    assert (found.get("name"), found.get("classname")) == ("latency", "export/a")
    assert float(found.get("time", "nan")) == 1.5
    assert found.findtext("system-out") == "found 0.6 ms"
    elements = [child for child in found if child.tag != "system-out"]
    assert [child.tag for child in elements] == ([tag] if tag else [])
    assert all(child.get("message") == 'over "0.5" <ms> & more' for child in elements)


def test_totals_count_the_outcomes() -> None:
    outcomes: tuple[Outcome, ...] = ("pass", "fail", "error", "skipped")
    cases = [Case(str(number), "c", outcome) for number, outcome in enumerate(outcomes)]
    suite = ET.fromstring(junit_xml("check", cases)).find("testsuite")  # noqa: S314  our own
    assert suite is not None
    found = [suite.get(name) for name in ("name", "tests", "failures", "errors", "skipped")]
    assert found == ["check", "4", "1", "1", "1"]
