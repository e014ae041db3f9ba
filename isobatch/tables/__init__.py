"""Files of rows: read in bounded memory, written with columns added and nothing else changed.

The exported names are the whole interface. Invariant: every row is read, in order and cell by
cell as it is in the file, or a TableError says where and why not.
"""

from isobatch.tables.delimited import split_at_commas
from isobatch.tables.encodings import UTF8, check_encoding, decode_lines
from isobatch.tables.factory import make_writer, open_output, open_table
from isobatch.tables.file_names import (
    DELIMITERS,
    Compression,
    CsvDialect,
    Format,
    TableFile,
    TableFormat,
    detect_format,
    expand_inputs,
    stem,
)
from isobatch.tables.scan import TableScan, scan_tables
from isobatch.tables.table import MISSING, Table, TableChunk, TableWriter, Unreadable
from isobatch.tables.text_files import FileDigest, stream_lines
from isobatch.tables.values import AddedField

__all__ = [
    "DELIMITERS",
    "MISSING",
    "UTF8",
    "AddedField",
    "Compression",
    "CsvDialect",
    "FileDigest",
    "Format",
    "Table",
    "TableChunk",
    "TableFile",
    "TableFormat",
    "TableScan",
    "TableWriter",
    "Unreadable",
    "check_encoding",
    "decode_lines",
    "detect_format",
    "expand_inputs",
    "make_writer",
    "open_output",
    "open_table",
    "scan_tables",
    "split_at_commas",
    "stem",
    "stream_lines",
]
