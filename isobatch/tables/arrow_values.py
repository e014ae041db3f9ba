"""Arrow columns as Python values.

It knows neither files nor rows.
Invariant: no digit is lost on the way to JSON, at any depth: times are ISO 8601 to the nanosecond,
decimals are their text, bytes are base64, a map is an array of pairs, and a duration, which has no
unit in JSON, the number of its own.
"""

import base64
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from isobatch.tables.libraries import library

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

Leaf = Callable[["pa.DataType"], "pa.DataType"]
"""A type without others inside of it to the type that it is cast to."""

Mend = Callable[[Any], object]


BYTES = ("binary", "large_binary", "binary_view", "fixed_size_binary")
LARGE_LISTS = ("large_list", "large_list_view")
LISTS = (*LARGE_LISTS, "list", "list_view", "fixed_size_list")


def plain_values(column: "pa.ChunkedArray") -> list[object]:
    """The cells as values that JSON has. pa.ArrowException if it cannot be done."""
    target = _retyped(column.type, _plain_leaf)
    values: list[object] = (column if target == column.type else column.cast(target)).to_pylist()
    mend = _mend(column.type)
    return values if mend is None else [mend(value) for value in values]


def python_values(column: "pa.ChunkedArray") -> list[object]:
    """The cells as Python's own values; times are cut to microseconds, which is all it has.

    pa.ArrowException or ValueError for a value that Python does not have.
    """
    target = _retyped(column.type, _python_leaf)
    if target == column.type:
        return list(column.to_pylist())
    return list(column.cast(target, safe=False).to_pylist())


def _retyped(type: "pa.DataType", leaf: Leaf) -> "pa.DataType":
    """`type` with every leaf inside of it replaced; dictionaries and extensions are undone."""
    pa = library("pyarrow")
    types = pa.types
    if types.is_dictionary(type):
        return _retyped(type.value_type, leaf)
    if isinstance(type, pa.BaseExtensionType):
        return _retyped(type.storage_type, leaf)
    if types.is_struct(type):
        return pa.struct([field.with_type(_retyped(field.type, leaf)) for field in type])
    if types.is_map(type):
        return pa.map_(_retyped(type.key_type, leaf), _retyped(type.item_type, leaf))
    if _is_one_of(type, LISTS):
        field = type.value_field.with_type(_retyped(type.value_type, leaf))
        if types.is_fixed_size_list(type):
            return pa.list_(field, type.list_size)
        # there is no cast from list views to list views of other items
        return pa.large_list(field) if _is_one_of(type, LARGE_LISTS) else pa.list_(field)
    return leaf(type)


def _is_one_of(type: "pa.DataType", kinds: tuple[str, ...]) -> bool:
    types = library("pyarrow").types
    return any(getattr(types, f"is_{kind}")(type) for kind in kinds)


def _plain_leaf(type: "pa.DataType") -> "pa.DataType":
    pa = library("pyarrow")
    if pa.types.is_duration(type):
        return pa.int64()
    spelled = pa.types.is_date(type) or pa.types.is_time(type) or pa.types.is_timestamp(type)
    return pa.string() if spelled or pa.types.is_decimal(type) else type


def _python_leaf(type: "pa.DataType") -> "pa.DataType":
    """Nanoseconds need pandas to become Python's; with it the values would be of its types."""
    pa = library("pyarrow")
    if pa.types.is_timestamp(type) and type.unit == "ns":
        return pa.timestamp("us", type.tz)
    if pa.types.is_duration(type) and type.unit == "ns":
        return pa.duration("us")
    return pa.time64("us") if pa.types.is_time64(type) else type


def _mend(type: "pa.DataType") -> Mend | None:
    """What is still to be done to the Python values of a plain column; None if nothing."""
    pa = library("pyarrow")
    types = pa.types
    if types.is_dictionary(type):
        return _mend(type.value_type)
    if isinstance(type, pa.BaseExtensionType):
        return _mend(type.storage_type)
    if types.is_timestamp(type):
        return _iso_time
    if _is_one_of(type, BYTES):
        return _binary_text
    if types.is_struct(type):
        return _mend_struct({field.name: _mend(field.type) for field in type})
    if types.is_map(type):
        return _mend_map(_mend(type.key_type), _mend(type.item_type))
    if _is_one_of(type, LISTS):
        return _mend_list(_mend(type.value_type))
    return None


def _mend_list(mend: Mend | None) -> Mend | None:
    if mend is None:
        return None
    return lambda items: None if items is None else [mend(item) for item in items]


def _mend_struct(mends: dict[str, Mend | None]) -> Mend | None:
    needed = {name: mend for name, mend in mends.items() if mend is not None}
    if not needed:
        return None
    return lambda item: (
        None if item is None else item | {name: mend(item[name]) for name, mend in needed.items()}
    )


def _mend_map(mend_key: Mend | None, mend_item: Mend | None) -> Mend | None:
    def mend_pair(pair: tuple[object, object]) -> tuple[object, object]:
        key, item = pair
        return mend_key(key) if mend_key else key, mend_item(item) if mend_item else item

    return _mend_list(mend_pair) if mend_key or mend_item else None


def _iso_time(text: str | None) -> str | None:
    """Arrow writes "2024-01-01 12:00:00+0100", ISO 8601 "2024-01-01T12:00:00+01:00"."""
    if text is None:
        return None
    return re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text.replace(" ", "T", 1))


def _binary_text(data: bytes | None) -> str | None:
    return None if data is None else base64.b64encode(data).decode()
