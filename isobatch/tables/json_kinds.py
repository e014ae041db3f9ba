"""Arrow types for JSON values, found by looking at every one of them.

It knows nothing of files. pyarrow's own inference is not used: it turns true into 1.0 where numbers
stand around it, and what it finds depends on where blocks of rows begin.
Invariant: values read back equal from the type that comes out (save that an object's missing keys
read back as null); kinds that no one type holds are an error.
"""

from typing import TYPE_CHECKING, TypeAlias

from isobatch.tables.libraries import library

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

Kind: TypeAlias = "str | tuple[Kind] | dict[str, Kind]"
"""A name for null, flags, numbers and text; (its items' kind,) for an array; or an object's."""

EXACT_IN_FLOAT = 2**53
INT64 = range(-(2**63), 2**63)


WIDENINGS = (("float", "integer"), ("long integer", "integer"))
"""Pairs of kinds of which the first holds every value of the second, too."""


class MixedKindsError(ValueError):
    """Values of two kinds that no one Arrow type holds."""


def kind_of(value: object) -> Kind:
    """The kind of one value. MixedKindsError for an array of mixed items or a huge integer."""
    if value is None:
        return "null"
    if isinstance(value, str):
        return "text"
    if isinstance(value, bool):
        return "flag"
    if isinstance(value, float):
        return "float"
    if isinstance(value, int):
        return _kind_of_integer(value)
    if isinstance(value, dict):
        return {key: kind_of(item) for key, item in value.items()}
    assert isinstance(value, list), "JSON has no other kinds"
    kind: Kind = "null"
    for item in value:
        kind = merged(kind, kind_of(item))
    return (kind,)


def _kind_of_integer(value: int) -> str:
    if value not in INT64:
        raise MixedKindsError(f"the integer {value} has more than 64 bits")
    return "integer" if -EXACT_IN_FLOAT <= value <= EXACT_IN_FLOAT else "long integer"


def merged(one: Kind, other: Kind) -> Kind:
    """The kind that holds both kinds. MixedKindsError if there is none."""
    if one == other or other == "null":
        return one
    if one == "null":
        return other
    if isinstance(one, tuple) and isinstance(other, tuple):
        return (merged(one[0], other[0]),)
    if isinstance(one, dict) and isinstance(other, dict):
        return {
            key: merged(one.get(key, "null"), other.get(key, "null")) for key in {**one, **other}
        }
    for pair in WIDENINGS:
        if (one, other) in (pair, pair[::-1]):
            return pair[0]
    raise MixedKindsError(f"it holds both {_name(one)} and {_name(other)} values")


def _name(kind: Kind) -> str:
    if isinstance(kind, dict):
        return "object"
    return "array" if isinstance(kind, tuple) else str(kind)


def arrow_type(kind: Kind) -> "pa.DataType":
    """The Arrow type of `kind`. MixedKindsError for an object without keys, which has none."""
    pa = library("pyarrow")
    if isinstance(kind, tuple):
        return pa.list_(arrow_type(kind[0]))
    if isinstance(kind, dict):
        if not kind:
            raise MixedKindsError("it holds objects without any key")
        return pa.struct([(key, arrow_type(item)) for key, item in kind.items()])
    return {
        "null": pa.null(),
        "flag": pa.bool_(),
        "integer": pa.int64(),
        "long integer": pa.int64(),
        "float": pa.float64(),
        "text": pa.string(),
    }[str(kind)]
