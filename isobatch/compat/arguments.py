"""Arguments of transformers that the drop-in API does not implement: rejected by name.

Invariant: an argument is honoured, has its neutral value, or raises OptionError, which lists the
supported ones; none is dropped silently, and none raises Python's TypeError.
"""

from collections.abc import Callable, Iterable, Mapping
from inspect import Parameter, signature
from typing import Any

from isobatch.errors import OptionError


def parameter_names(function: Callable[..., Any]) -> list[str]:
    """List the parameters of `function` that a caller can name."""
    parameters = signature(function).parameters.values()
    named = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
    return [each.name for each in parameters if each.kind in named and each.name != "self"]


def reject_unsupported(
    place: str,
    given: Mapping[str, object],
    supported: Iterable[str],
    neutral: Mapping[str, tuple[object, ...]] | None = None,
    advice: Mapping[str, str] | None = None,
) -> None:
    """Raise OptionError for the first of the `given` arguments that has an effect.

    neutral: arguments that are accepted with these values, which change nothing.
    advice: for an argument, the sentence that says what to write in its place.
    """
    for name, value in given.items():
        if any(value is each for each in (neutral or {}).get(name, ())):
            continue
        if name in (neutral or {}) and isinstance(value, str | int) and value in neutral[name]:  # type: ignore[index]
            continue
        fix = (advice or {}).get(name, f"Remove it; supported: {', '.join(supported)}")
        raise OptionError(f"{place}: {name}={_shown(value)} is not supported. {fix}")


def reject_positional(place: str, given: tuple[object, ...], supported: Iterable[str]) -> None:
    """Raise OptionError if there are more positional arguments than `place` takes.

    None is accepted: in transformers it is the default of the argument in that place.
    """
    if stated := [value for value in given if value is not None]:
        raise OptionError(
            f"{place}: takes fewer positional arguments (got {_shown(stated[0])}). Specify each "
            f"argument; supported: {', '.join(supported)}"
        )


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
