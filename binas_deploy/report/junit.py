"""Verdicts as JUnit XML, which CI systems show test by test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite

Outcome = Literal["pass", "fail", "error", "skipped"]
_RESULTS = {"fail": Failure, "error": Error, "skipped": Skipped}


@dataclass(frozen=True)
class Case:
    """One verdict: ``message`` in a line why it is so, ``text`` with what was found."""

    name: str
    classname: str
    outcome: Outcome
    message: str = ""
    text: str = ""
    seconds: float = 0.0


def junit_xml(suite: str, cases: Sequence[Case]) -> str:
    """The document as text: one suite."""
    found = TestSuite(suite)
    for case in cases:
        found.add_testcase(_testcase(case))
    document = JUnitXml()
    document.add_testsuite(found)
    payload: bytes = document.tostring()  # type: ignore[no-untyped-call]
    return payload.decode("utf-8")


def _testcase(case: Case) -> TestCase:
    made = TestCase(case.name, case.classname, case.seconds)
    if case.outcome != "pass":
        made.result = [_RESULTS[case.outcome](case.message)]
    if case.text:
        made.system_out = case.text
    return made
