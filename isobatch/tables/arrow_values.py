"""Arrow columns as Python values.

Invariant: no digit is lost on the way to JSON, at any depth: times are ISO 8601 to the nanosecond,
decimals are their text, bytes are base64, a map is an array of pairs, and a duration, which has no
unit in JSON, is its number.
"""

import base64
import re
from collections.abc import Callable
from typing import Any

import pyarrow as pa  # type: ignore[import-untyped]

Leaf = Callable[[pa.DataType], pa.DataType]
"""Maps a leaf (non-nested) Arrow type to its cast target."""

Conversion = Callable[[Any], object]

BYTES = ("binary", "large_binary", "binary_view", "fixed_size_binary")
LARGE_LISTS = ("large_list", "large_list_view")
LISTS = (*LARGE_LISTS, "list", "list_view", "fixed_size_list")


def plain_values(column: pa.ChunkedArray) -> list[object]:
    """Return the cells as values that JSON has. pa.ArrowException if a cell cannot be converted."""
    target = _retyped(column.type, _plain_leaf)
    values: list[object] = (column if target == column.type else column.cast(target)).to_pylist()
    conversion = _conversion(column.type)
    return values if conversion is None else [conversion(value) for value in values]


def python_values(column: pa.ChunkedArray) -> list[object]:
    """Return the cells as Python's own values; times are cut to microseconds, its resolution.

    pa.ArrowException or ValueError for a value that Python does not have.
    """
    target = _retyped(column.type, _python_leaf)
    if target == column.type:
        return list(column.to_pylist())
    return list(column.cast(target, safe=False).to_pylist())


def _retyped(type: pa.DataType, leaf: Leaf) -> pa.DataType:
    """Return `type` with every leaf replaced, and dictionaries and extensions decoded."""
    if pa.types.is_dictionary(type):
        return _retyped(type.value_type, leaf)
    if isinstance(type, pa.BaseExtensionType):
        return _retyped(type.storage_type, leaf)
    if pa.types.is_struct(type):
        return pa.struct([field.with_type(_retyped(field.type, leaf)) for field in type])
    if pa.types.is_map(type):
        return pa.map_(_retyped(type.key_type, leaf), _retyped(type.item_type, leaf))
    if _is_one_of(type, LISTS):
        field = type.value_field.with_type(_retyped(type.value_type, leaf))
        if pa.types.is_fixed_size_list(type):
            return pa.list_(field, type.list_size)
        # pyarrow cannot cast list views to list views of other items
        return pa.large_list(field) if _is_one_of(type, LARGE_LISTS) else pa.list_(field)
    return leaf(type)


def _is_one_of(type: pa.DataType, kinds: tuple[str, ...]) -> bool:
    return any(getattr(pa.types, f"is_{kind}")(type) for kind in kinds)


def _plain_leaf(type: pa.DataType) -> pa.DataType:
    if pa.types.is_duration(type):
        return pa.int64()
    spelled = pa.types.is_date(type) or pa.types.is_time(type) or pa.types.is_timestamp(type)
    return pa.string() if spelled or pa.types.is_decimal(type) else type


def _python_leaf(type: pa.DataType) -> pa.DataType:
    """Avoid nanoseconds, which need pandas, and become values of its types."""
    if pa.types.is_timestamp(type) and type.unit == "ns":
        return pa.timestamp("us", type.tz)
    if pa.types.is_duration(type) and type.unit == "ns":
        return pa.duration("us")
    return pa.time64("us") if pa.types.is_time64(type) else type


def _conversion(type: pa.DataType) -> Conversion | None:
    """Return what converts the Python values of a plain column to JSON values, if needed."""
    if pa.types.is_dictionary(type):
        return _conversion(type.value_type)
    if isinstance(type, pa.BaseExtensionType):
        return _conversion(type.storage_type)
    if pa.types.is_timestamp(type):
        return _unless_null(_iso_time)
    if _is_one_of(type, BYTES):
        return _unless_null(lambda data: base64.b64encode(data).decode())
    if pa.types.is_struct(type):
        of_field = {field.name: found for field in type if (found := _conversion(field.type))}
        if of_field:
            return _unless_null(
                lambda item: item | {name: of(item[name]) for name, of in of_field.items()}
            )
    elif pa.types.is_map(type):
        of_key = _conversion(type.key_type) or _unchanged
        of_item = _conversion(type.item_type) or _unchanged
        if (of_key, of_item) != (_unchanged, _unchanged):
            return _unless_null(lambda pairs: [(of_key(key), of_item(item)) for key, item in pairs])
    elif _is_one_of(type, LISTS) and (of_value := _conversion(type.value_type)):
        return _unless_null(lambda items: [of_value(item) for item in items])
    return None


def _unless_null(conversion: Conversion) -> Conversion:
    return lambda value: None if value is None else conversion(value)


def _unchanged(value: object) -> object:
    return value


def _iso_time(text: str) -> str:
    """Arrow writes "2024-01-01 12:00:00+0100", ISO 8601 "2024-01-01T12:00:00+01:00"."""
    return re.sub(r"([+-]\d\d)(\d\d)$", r"\1:\2", text.replace(" ", "T", 1))
