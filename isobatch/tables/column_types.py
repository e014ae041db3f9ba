"""Arrow types of text columns, and the command that casts a column of another type to strings."""

import shlex
from pathlib import Path

import pyarrow as pa  # type: ignore[import-untyped]

SCRIPT = (
    "import pyarrow as pa, pyarrow.parquet as pq, pyarrow.compute as pc; "
    "t = pq.read_table({path!r}); c = t[{column!r}].combine_chunks(); "
    "i = t.column_names.index({column!r}); "
    "pq.write_table(t.set_column(i, {column!r}, {cast}), 'NEW.parquet')"
)


def is_text(type: pa.DataType) -> bool:
    """Return whether the cells are texts: strings, dictionaries of them, or nulls alone."""
    if pa.types.is_dictionary(type):
        return is_text(type.value_type)
    if isinstance(type, pa.BaseExtensionType):
        return is_text(type.storage_type)
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(kind(type) for kind in kinds) or bool(pa.types.is_null(type))


def cast_fix(path: Path, column: str, type: pa.DataType) -> str:
    """Return the advice for a column of another type: a command that makes it strings."""
    cast = _cast(type)
    if cast is None:
        return "choose another column with --text-column, or write this one as strings"
    script = SCRIPT.format(path=str(path), column=column, cast=cast)
    return (
        "choose another column with --text-column, or cast it: "
        f"python -c {shlex.quote(script)}, which writes NEW.parquet"
    )


def _cast(type: pa.DataType, value: str = "c") -> str | None:
    """Return the expression that casts `value`, or None for a type that Arrow does not cast."""
    if pa.types.is_dictionary(type):
        return _cast(type.value_type, f"{value}.dictionary_decode()")
    if pa.types.is_struct(type):
        fields = [field.name for field in type if is_text(field.type)]
        return f"pc.struct_field({value}, {fields[0]!r})" if fields else None
    if pa.types.is_list(type) or pa.types.is_large_list(type) or pa.types.is_fixed_size_list(type):
        is_flat = not pa.types.is_nested(type.value_type)
        return f"pc.binary_join({value}.cast(pa.list_(pa.string())), ' ')" if is_flat else None
    if pa.types.is_nested(type):
        return None
    if pa.types.is_fixed_size_binary(type) or pa.types.is_binary_view(type):
        return f"{value}.cast('binary').cast('string')"
    return f"{value}.cast('string')"
