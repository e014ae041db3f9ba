"""Ambient state cannot change a bit: not of the processor, not of torch, not of the process.

Each state is entered before an API is loaded, or between loading and calling it. Either the answer
has the bits that it has without the state, or the call is rejected with the way to undo it. That a
state has an effect on unprotected code is tested too.
"""

from collections.abc import Mapping
from pathlib import Path

import pytest
from claims.ambient_states import QUIET, REDUCED, REJECTED, VISIBLE, State, plain_result
from claims.every_api import APIS, as_bytes, write_sensitive_checkpoint

from isobatch import Classifier
from isobatch.errors import IsobatchError, OptionError

HARMLESS: Mapping[str, State] = {**VISIBLE, **QUIET}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sensitive_checkpoint(tmp_path_factory.mktemp("ambient") / "model")


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, bytes]:
    found = {}
    for name, loading in APIS.items():
        with loading(folder) as call:
            found[name] = as_bytes(call())
    return found


def test_the_checkpoint_has_a_subnormal_logit(folder: Path) -> None:
    logit = Classifier.from_pretrained(folder)("good film").logits[1]
    assert 0 < abs(logit) < 2.0**-126


@pytest.mark.parametrize("state", VISIBLE)
def test_a_state_changes_unprotected_results(state: str) -> None:
    usual = plain_result()
    with VISIBLE[state]():
        found = plain_result()
    assert found != usual
    assert plain_result() == usual


@pytest.mark.parametrize("state", HARMLESS)
@pytest.mark.parametrize("api", APIS)
def test_a_state_of_loading_changes_no_bit(
    api: str, state: str, folder: Path, expected: dict[str, bytes]
) -> None:
    with HARMLESS[state](), APIS[api](folder) as call:
        answer = call()
    assert as_bytes(answer) == expected[api]


@pytest.mark.parametrize("api", APIS)
def test_a_state_of_a_call_changes_no_bit(
    api: str, folder: Path, expected: dict[str, bytes]
) -> None:
    changed = []
    with APIS[api](folder) as call:
        for name, state in HARMLESS.items():
            with state():
                answer = call()
            if as_bytes(answer) != expected[api]:
                changed.append(name)
        assert as_bytes(call()) == expected[api]
    assert changed == []
