"""The catalogue and the probes name the same faults."""

import ast
import re
from pathlib import Path

import pytest

import isobatch.audit
from isobatch.audit.configuration import TEXTS_ALONE
from isobatch.audit.diagnosis import _DEMONSTRATIONS
from isobatch.audit.faults import FAULTS, explained_by
from isobatch.audit.probes import PROBES

ROOM = Path(isobatch.audit.__file__).parent
MODULES = ("auditor", "configuration", "session")
NAMING = [*(ROOM / "probes").glob("*.py"), *(ROOM / f"{name}.py" for name in MODULES)]


def names_in(path: Path) -> set[str]:
    """Everything in the module that is written as names of faults are."""
    constants = (
        each.value
        for each in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(each, ast.Constant) and isinstance(each.value, str)
    )
    return {name for name in constants if re.fullmatch(r"[a-z]+(-[a-z]+)+|rounding", name)}


def test_every_fault_is_named_by_something_and_every_name_is_a_fault() -> None:
    named = set().union(*map(names_in, NAMING)) - {probe.name for probe in (*PROBES, TEXTS_ALONE)}
    named |= {"half-precision"}  # a probe of the same name
    assert named == set(FAULTS)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=lambda fault: fault.name)
def test_a_fault_explains_others_that_exist(fault: isobatch.audit.faults.AuditFault) -> None:
    assert explained_by(fault.name) <= FAULTS.keys()
    assert fault.name not in explained_by(fault.name)
    assert not any(fault.name in explained_by(other) for other in explained_by(fault.name))
    assert all((fault.title, fault.cause, fault.fix))


def test_no_two_faults_have_one_title_and_demonstrations_are_of_faults() -> None:
    assert len({fault.title for fault in FAULTS.values()}) == len(FAULTS)
    assert _DEMONSTRATIONS.keys() <= FAULTS.keys()
