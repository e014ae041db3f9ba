"""The split into training and validation texts: seeded, stratified by label, without leaks.

Invariant: every text is on one side, equal texts are on the same, every class keeps a text to train
on, and the split of the same texts with the same seed is the same in any order of the rows.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isobatch.drawing.display_text import counted
from isobatch.errors import InputError, OptionError
from isobatch.training.data.equal_texts import Groups, group_equal_texts
from isobatch.training.data.targets import Targets
from isobatch.training.recipe import TrainingTask
from isobatch.training.steps.order import draw_order
from isobatch.types import TextInput

MAX_VALIDATION = 2_000
"""An accuracy of 90 % on 2,000 texts has a standard error of 0.7 points; more cost time."""

REGRESSION_STRATA = 10
"""A regression is stratified by tenths of its numbers."""

REGRESSION_TEXTS = 5
"""In each of them, or there are fewer: each keeps a text to train on."""

_SPLIT_EPOCH = 2**63
"""Of the draw of the split: no epoch of a training has this number."""

Indices = NDArray[np.int64]


def split_texts(
    texts: Sequence[TextInput],
    targets: Targets,
    share: float,
    seed: int,
    task: TrainingTask = "single",
) -> tuple[Indices, Indices]:
    """Return the indices of the training and of the validation texts, both in order.

    About `share` of the texts is held out, MAX_VALIDATION at most; of each class the same share
    within one text, where the sizes of groups of equal texts allow that. Multiple labels are
    stratified by each label, the rarest first (Sechidis, Tsoumakas and Vlahavas 2011, "On the
    Stratification of Multi-Label Data"). Raises OptionError for a share outside of (0, 0.5], and
    InputError if nothing can be held out without emptying a class.
    """
    return split_groups(group_equal_texts(texts), targets, share, seed, task)


def split_groups(
    groups: Groups, targets: Targets, share: float, seed: int, task: TrainingTask = "single"
) -> tuple[Indices, Indices]:
    """Split as `split_texts`, by the group of each text."""
    if not 0.0 < share <= 0.5:
        raise OptionError(
            f"the share of validation texts must be more than 0 and at most 0.5, got {share!r}"
        )
    wanted = min(max(round(share * len(groups)), 1), MAX_VALIDATION)
    strata = _Strata.of(groups, _memberships(targets, task))
    rank = np.empty(strata.num_groups, np.int64)
    rank[draw_order(strata.num_groups, seed, _SPLIT_EPOCH)] = np.arange(strata.num_groups)
    held = _Selection(strata, rank, wanted / len(groups), wanted).select()
    if not held:
        raise InputError(
            f"cannot hold out validation texts: of {counted(len(groups), 'text')} too few differ "
            "to keep one of every class in training. Add texts, or specify a validation file"
        )
    is_held = np.isin(groups, np.fromiter(held, np.int64))
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


_Pairs = tuple[NDArray[Any], NDArray[Any]]
_Fits = Callable[[list[tuple[int, int]]], bool]


def _memberships(targets: Targets, task: TrainingTask) -> _Pairs:
    """Return each text that is in a stratum, and the stratum: one entry for each such pair.

    A text with multiple labels is in one for each, or, without any, in one more.
    """
    if task == "regression":
        numbers = targets[:, 0]
        num_strata = max(1, min(REGRESSION_STRATA, len(numbers) // REGRESSION_TEXTS))
        cuts = np.quantile(numbers, np.arange(1, num_strata) / num_strata)
        return np.arange(len(numbers)), np.searchsorted(cuts, numbers, side="right")
    rows, columns = np.nonzero(targets)
    unlabelled = np.flatnonzero(~targets.any(axis=1))
    strata = np.concatenate([columns, np.full(len(unlabelled), targets.shape[1])])
    return np.concatenate([rows, unlabelled]), strata


@dataclass(frozen=True, slots=True)
class _Strata:
    """How many texts of each group are in which strata, both ways; and the size of each group."""

    num_groups: int
    sizes: NDArray[np.int64]
    totals: NDArray[np.int64]
    of_group: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
    """Stratum and count of each pair, ordered by group; and where each group begins."""
    of_stratum: tuple[NDArray[Any], NDArray[Any]]
    """Group of each pair, ordered by stratum; and where each stratum begins."""

    @classmethod
    def of(cls, groups: Groups, memberships: _Pairs) -> "_Strata":
        texts, strata = memberships
        num_groups, num_strata = int(groups.max()) + 1, int(strata.max()) + 1
        keys, counts = np.unique(groups[texts] * num_strata + strata, return_counts=True)
        group, stratum = np.divmod(keys, num_strata)
        begins = np.searchsorted(group, np.arange(num_groups + 1))
        by_stratum = np.argsort(stratum, kind="stable")
        edges = np.searchsorted(stratum[by_stratum], np.arange(num_strata + 1))
        return cls(
            num_groups,
            np.bincount(groups, minlength=num_groups),
            np.bincount(strata, minlength=num_strata),
            (stratum, counts, begins),
            (group[by_stratum], edges),
        )


class _Selection:
    """Holds out whole groups until each stratum has its quota."""

    def __init__(self, strata: _Strata, rank: NDArray[np.int64], share: float, wanted: int) -> None:
        self._strata = strata
        self._rank = rank
        self._room = [*_quotas(strata.totals, share), wanted]
        """Texts that each stratum may still hold out; the last entry is for all together."""
        self._kept = [int(total) for total in strata.totals]
        self._held: set[int] = set()

    def select(self) -> set[int]:
        """Return the groups that are held out, first those that fit, then those that nearly do."""
        totals = self._strata.totals
        order = sorted(range(len(totals)), key=lambda stratum: (totals[stratum], stratum))
        for fits in (self._fits, self._nearly_fits):
            for stratum in order:
                self._fill(stratum, fits)
        if not self._held:
            self._hold_smallest()
        return self._held

    def _fill(self, stratum: int, fits: _Fits) -> None:
        groups, edges = self._strata.of_stratum
        if self._room[stratum] <= 0:
            return
        members = groups[edges[stratum] : edges[stratum + 1]]
        for group in members[np.argsort(self._rank[members])].tolist():
            if self._room[stratum] <= 0 or self._room[-1] <= 0:
                return
            if group not in self._held and fits(self._counts(group)):
                self._hold(group)

    def _counts(self, group: int) -> list[tuple[int, int]]:
        """Return each stratum that has texts of this group, with their number; last the size."""
        strata, counts, begins = self._strata.of_group
        part = slice(begins[group], begins[group + 1])
        pairs = list(zip(strata[part].tolist(), counts[part].tolist(), strict=True))
        return [*pairs, (-1, int(self._strata.sizes[group]))]

    def _fits(self, counts: list[tuple[int, int]]) -> bool:
        return all(count <= self._room[stratum] for stratum, count in counts)

    def _nearly_fits(self, counts: list[tuple[int, int]]) -> bool:
        """Whether the numbers come nearer to their quotas, and every class keeps a text."""
        change = sum(
            abs(self._room[stratum] - count) - abs(self._room[stratum]) for stratum, count in counts
        )
        return change < 0 and self._keeps_classes(counts)

    def _keeps_classes(self, counts: list[tuple[int, int]]) -> bool:
        return all(count < self._kept[stratum] for stratum, count in counts[:-1])

    def _hold(self, group: int) -> None:
        self._held.add(group)
        for stratum, count in self._counts(group):
            self._room[stratum] -= count
            if stratum >= 0:
                self._kept[stratum] -= count

    def _hold_smallest(self) -> None:
        """Hold out the smallest group that every class can spare, however large it is."""
        for group in np.lexsort((self._rank, self._strata.sizes)).tolist():
            if self._keeps_classes(self._counts(group)):
                self._hold(group)
                return


def _quotas(totals: NDArray[np.int64], share: float) -> list[int]:
    """Round the share of each stratum so that quotas add up; each leaves a text to train on.

    Strata that overlap, as those of multiple labels do, add up to their own sum.
    """
    ideal = totals * share
    floors = np.floor(ideal).astype(int)
    missing = round(float(ideal.sum())) - int(floors.sum())
    order = np.argsort(-(ideal - floors), kind="stable")
    quotas = floors.copy()
    quotas[order[:missing]] += 1
    return [int(quota) for quota in np.minimum(quotas, np.maximum(totals - 1, 0))]
