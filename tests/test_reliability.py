"""docs/reliability.md: each promise has tests, and its figures are those of a run."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
REPORT = """
<testsuites><testsuite>
<testcase classname="tests.test_one" name="a"><properties><property name="kills" value="3"/>
</properties></testcase>
<testcase classname="tests.test_one" name="b"><properties><property name="kills" value="1"/>
<property name="faults" value="1"/></properties></testcase>
<testcase classname="tests.test_two" name="c"/>
</testsuite></testsuites>
"""
TABLE = "| promise | test | run |\n|---|---|---|\n| it lives | killed (`test_o*.py`) | old |\n"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("reliability", ROOT / "tools" / "reliability.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_each_promise_has_tests(tool: ModuleType) -> None:
    promises = tool.promises(PAGE)
    assert len(promises) > 10
    for promise in promises:
        for pattern in promise.files:
            assert list((ROOT / "tests").glob(f"{pattern}.py")), promise
    table = PAGE.partition("| promise |")[2].partition("\n\n")[0].splitlines()[2:]
    assert len(table) == len(promises)
    # All of them are of one run, or the page tells of none yet.
    filled = [row for row in table if re.search(r"\| [\d,]+ tests?[\w ,-]*\|$", row)]
    assert len(filled) in (0, len(table))


def test_the_figures_are_those_of_a_report(tool: ModuleType, tmp_path: Path) -> None:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    runs = tool.read_report(report)
    assert tool.fill_in(TABLE, runs).endswith(
        "| it lives | killed (`test_o*.py`) | 2 tests, 4 kills, 1 fault |\n"
    )
    with pytest.raises(ValueError, match=r"test_three\.py: not in this run"):
        tool.fill_in(TABLE.replace("test_o*", "test_three"), runs)
    report.write_text(REPORT.replace('name="c"/>', 'name="c"><failure/></testcase>'))
    with pytest.raises(ValueError, match=r"test_two\.py::c: has not passed"):
        tool.fill_in(TABLE.replace("test_o*", "test_two"), tool.read_report(report))
