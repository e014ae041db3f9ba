"""Columns that are added to rows, and how each format spells their values.

It knows nothing of what the values mean. Invariant: what reads a value back gets the same bits,
save that JSON has neither NaN nor infinities, and gets null for them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from isobatch.errors import OptionError, TableError
from isobatch.tables.libraries import library
from isobatch.tables.rows import TableChunk
from isobatch.tables.values import encoder, number_text, numbers_text

if TYPE_CHECKING:
    import pyarrow as pa  # type: ignore[import-untyped]

AddedKind = Literal["text", "number", "flag", "numbers"]
"""str, float, bool, or a list of floats that are float32 values; None is null in each of them."""

Added = Sequence[Sequence[Any]]
"""For each added field, in order, the value of each row."""

FLAGS = {True: "true", False: "false"}


@dataclass(frozen=True, slots=True)
class AddedField:
    """A column that is added behind those of the input."""

    name: str
    kind: AddedKind

    def texts(self, values: Sequence[Any]) -> list[str]:
        """The values as CSV cells: null is empty, and numbers are a JSON array."""
        return ["" if value is None else self._text(value) for value in values]

    def json(self, values: Sequence[Any]) -> list[bytes]:
        """The values in JSON."""
        return [b"null" if value is None else self._json(value) for value in values]

    def arrow_type(self) -> "pa.DataType":
        """The type of the column in a Parquet file."""
        pa = library("pyarrow")
        return {
            "text": pa.string(),
            "number": pa.float64(),
            "flag": pa.bool_(),
            "numbers": pa.list_(pa.float32()),
        }[self.kind]

    def _text(self, value: Any) -> str:
        if self.kind == "text":
            return str(value)
        if self.kind == "number":
            return float.__repr__(value)
        return FLAGS[value] if self.kind == "flag" else numbers_text(value)

    def _json(self, value: Any) -> bytes:
        if self.kind == "text":
            return encoder()(value)
        return (number_text(value) if self.kind == "number" else self._text(value)).encode()


def check_added(rows: TableChunk, fields: Sequence[AddedField], added: Added) -> None:
    """OptionError unless `added` holds a value for each row and field: no row may get lost."""
    sizes = [len(values) for values in added]
    if sizes != [len(rows)] * len(fields):
        raise OptionError(
            f"{len(fields)} added fields of {len(rows)} rows need as many values, got {sizes}"
        )


def not_unicode(
    rows: TableChunk, fields: Sequence[AddedField], added: Added, error: UnicodeEncodeError
) -> TableError:
    """The TableError for an added text that is not Unicode; it is looked for only now."""
    for field, values in zip(fields, added, strict=True):
        for index, value in enumerate(values):
            if isinstance(value, str) and any("\ud800" <= letter <= "\udfff" for letter in value):
                return TableError(
                    f"{rows.place(index)}: the value to be written as {field.name!r} holds half of "
                    "a surrogate pair, which is not Unicode text; mend the name that it comes from"
                )
    return TableError(f"{rows.place(0)}: a row from here on cannot be written as UTF-8: {error}")
