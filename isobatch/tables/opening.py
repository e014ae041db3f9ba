"""From a file to the table that reads its format.

It knows nothing of what stands in a file. Invariant: every format has its one reader here.
"""

from collections.abc import Callable

from isobatch.errors import OptionError
from isobatch.tables.delimited import DelimitedTable, LinesTable
from isobatch.tables.formats import FORMATS, Format, TableFile
from isobatch.tables.json_lines import JsonTable
from isobatch.tables.parquet import ArrowTable
from isobatch.tables.rows import Table

READERS: dict[Format, Callable[[TableFile], Table]] = {
    "csv": DelimitedTable,
    "tsv": DelimitedTable,
    "lines": LinesTable,
    "jsonl": JsonTable,
    "parquet": ArrowTable,
}


def open_table(file: TableFile) -> Table:
    """`file` ready to be read; its header or schema is read at once.

    TableError if that cannot be read or names a column twice. OptionError for a format that is
    none, for compressed Parquet, or if the format needs a library that is not installed.
    """
    if file.format not in READERS:
        raise OptionError(f"format must be one of {', '.join(FORMATS)}, got {file.format!r}")
    if file.format == "parquet" and file.compression != "none":
        raise OptionError(
            f"{file.path}: a Parquet file is compressed inside, never as a whole; decompress it"
        )
    return READERS[file.format](file)
