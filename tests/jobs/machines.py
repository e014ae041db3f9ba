"""Other machines, simulated: a run sees their arithmetic, processor, kernels and versions."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace

import pytest

from isobatch.jobs import manifest
from isobatch.kernels import ARITHMETIC
from isobatch.scope import Scope, describe_scope
from isobatch.tasks import Classifier

TORCH_ON_AVX2 = "torch 2.13.0 AVX2"
TORCH_ON_AVX512 = "torch 2.13.0 AVX512"


@contextmanager
def machine(
    arithmetic: str = ARITHMETIC,
    *,
    instruction_set: str = "AVX2",
    processor: str = "a processor",
    kernel: str = "compiled avx2",
    device: str = "cpu",
    versions: Mapping[str, str] | None = None,
) -> Iterator[None]:
    """Let this process be a machine of this kind, as far as jobs can tell."""

    def describe(classifier: Classifier, checkpoint: str) -> Scope:
        scope = describe_scope(classifier, checkpoint)
        return replace(
            scope,
            instruction_set=instruction_set,
            processor=processor,
            device=device,
            choices=tuple(replace(choice, kernel=kernel) for choice in scope.choices),
            versions=scope.versions | (versions or {}),
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(manifest, "describe_scope", describe)
        patch.setattr(Classifier, "arithmetic", property(lambda classifier: arithmetic))
        yield
