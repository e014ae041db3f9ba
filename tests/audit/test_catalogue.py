"""The catalogue and the probes speak of the same faults."""

import ast
import re
from pathlib import Path

import pytest

import isobatch.audit
from isobatch.audit.diagnosis import _SHOWS
from isobatch.audit.faults import FAULTS
from isobatch.audit.probes import PROBES

ROOM = Path(isobatch.audit.__file__).parent
NAMING = [*sorted((ROOM / "probes").glob("*.py")), *(ROOM / f"{n}.py" for n in ("naming", "run"))]
NAMING.append(ROOM / "probing.py")


def names_in(path: Path) -> set[str]:
    """Everything in the module that is written as names of faults are."""
    constants = (
        each.value
        for each in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    )
    return {name for name in constants if re.fullmatch(r"[a-z]+(-[a-z]+)+|rounding", name)}


def test_every_fault_is_named_by_something_and_every_name_is_a_fault() -> None:
    named = set().union(*map(names_in, NAMING)) - {probe.name for probe in PROBES}
    named |= {"half-precision"}  # a probe of the same name
    assert named == set(FAULTS)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda fault: fault.name)
def test_a_fault_explains_others_that_exist(fault: isobatch.audit.faults.Fault) -> None:
    assert fault.explains <= FAULTS.keys()
    assert fault.name not in fault.explains
    assert not any(fault.name in FAULTS[other].explains for other in fault.explains)
    assert all((fault.title, fault.cause, fault.cure))


def test_no_two_faults_have_one_title_and_shows_are_of_faults() -> None:
    assert len({fault.title for fault in FAULTS.values()}) == len(FAULTS)
    assert _SHOWS.keys() <= FAULTS.keys()
