"""ConfigValues: the settings of config.json by our names, each checked as it is read."""

import math
from collections.abc import Mapping
from typing import TypeGuard

from isobatch.errors import CheckpointError, UnsupportedModelError


class ConfigValues:
    """The content of a config.json.

    keys: our name → the key and its default. fixed: names that have no key. old_keys: of older
    versions of a format → the present one. Raises CheckpointError for two spellings of one setting
    that contradict each other.
    """

    def __init__(
        self,
        raw: Mapping[str, object],
        keys: Mapping[str, tuple[str, object]],
        fixed: Mapping[str, object],
        old_keys: Mapping[str, str],
    ) -> None:
        self.raw = current_keys(raw, old_keys)
        self._old_keys = {new: old for old, new in old_keys.items() if old in raw}
        self._keys = keys
        self._fixed = fixed

    def key(self, name: str) -> str:
        """Return the key of `name` in config.json; its own name where it has none."""
        return self._keys.get(name, (name, None))[0]

    def value(self, name: str) -> object:
        """Return the value of `name`, or its default."""
        if name in self._fixed:
            return self._fixed[name]
        key, default = self._keys[name]
        return self.raw.get(key, default)

    def has(self, name: str) -> bool:
        """Return whether the family has such a setting, and it is neither missing nor null."""
        return name in self._keys and self.value(name) is not None

    def integer(self, name: str, least: int = 1) -> int:
        """Return a whole number, at least `least`."""
        value = self.value(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            if name in self._fixed:
                assert isinstance(value, int)
                return value
            kind = "a positive integer" if least == 1 else f"an integer of at least {least}"
            raise CheckpointError(f"config.json: {self.key(name)} must be {kind}, got {value!r}")
        return value

    def number(self, name: str) -> float:
        """Return a finite number that is not negative."""
        value = self.value(name)
        if not _is_number(value) or not math.isfinite(value) or value < 0:
            raise CheckpointError(
                f"config.json: {self.key(name)} must be a small number, got {value!r}"
            )
        return float(value)

    def probability(self, name: str, default: float) -> float:
        """Return a number from 0 to 1; that of the key where the file has none, or says null.

        default: of a family without such a key, and of a key without a number of its own.
        """
        value = self.value(name) if name in self._keys or name in self._fixed else None
        if value is None:
            value = self._keys.get(name, (name, None))[1]
        if value is None:
            return default
        if not _is_number(value) or not 0 <= value <= 1:
            raise CheckpointError(
                f"config.json: {self.key(name)} must be between 0 and 1, got {value!r}"
            )
        return float(value)

    def text(self, name: str) -> str:
        """Return a name, such as that of an activation."""
        value = self.value(name)
        if not isinstance(value, str):
            raise CheckpointError(
                f'config.json: {self.key(name)} must be a name such as "gelu", got {value!r}'
            )
        return value

    def flag(self, name: str) -> bool:
        """Return true or false."""
        value = self.value(name)
        if not isinstance(value, bool):
            raise CheckpointError(
                f"config.json: {self.key(name)} must be true or false, got {value!r}"
            )
        return value

    def spelled(self, changes: Mapping[str, object]) -> dict[str, object]:
        """Return `changes`, of present keys, also by the old keys that the file has."""
        spelled = self._old_keys
        return {**changes, **{spelled[key]: changes[key] for key in changes if key in spelled}}

    def reject_others(self, only: Mapping[str, tuple[object, ...]]) -> None:
        """Raise UnsupportedModelError for a key of `only` with a value that is not listed there.

        A key that is missing has a value that is listed.
        """
        for key, allowed in only.items():
            if key not in self.raw:
                continue
            value = self.raw[key]
            if not any(value == each and type(value) is type(each) for each in allowed):
                shown = " and ".join(f"{each!r}" for each in allowed)
                raise UnsupportedModelError(
                    f"config.json: {key} {value!r} is not supported, only {shown}. It changes "
                    "what the model computes, so it cannot be ignored: use another checkpoint"
                )


def current_keys(raw: Mapping[str, object], old_keys: Mapping[str, str]) -> dict[str, object]:
    """Return `raw` with the present spelling of every old key; the old ones stay.

    Raises CheckpointError where both are there with different values.
    """
    current = dict(raw)
    for old, new in old_keys.items():
        if old not in raw:
            continue
        if raw.get(new, raw[old]) != raw[old]:
            raise CheckpointError(
                f"config.json: {old} {raw[old]!r} contradicts {new} {raw[new]!r}. Delete the one "
                "that is wrong"
            )
        current[new] = raw[old]
    return current


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
