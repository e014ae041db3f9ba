"""Files of rows: read in bounded memory, written with columns added and nothing else changed.

It knows nothing of models, jobs or classification. What is exported here is the whole interface.
Invariant: every row comes out, in order and cell by cell as it stood, or a TableError says where
and why not.
"""

from isobatch.tables.added import AddedField
from isobatch.tables.compression import FileDigest
from isobatch.tables.formats import (
    Compression,
    CsvDialect,
    Format,
    TableFile,
    detect_format,
    stem,
)
from isobatch.tables.inputs import expand_inputs
from isobatch.tables.opening import open_table
from isobatch.tables.rows import MISSING, Table, TableChunk, Unreadable
from isobatch.tables.scan import TableScan, scan_tables
from isobatch.tables.writers import TableWriter, make_writer

Dialect = CsvDialect
Rows = TableChunk
Scan = TableScan
scan_all = scan_tables
recognise = detect_format

__all__ = [
    "MISSING",
    "AddedField",
    "Compression",
    "CsvDialect",
    "Dialect",
    "FileDigest",
    "Format",
    "Rows",
    "Scan",
    "Table",
    "TableChunk",
    "TableFile",
    "TableScan",
    "TableWriter",
    "Unreadable",
    "detect_format",
    "expand_inputs",
    "make_writer",
    "open_table",
    "recognise",
    "scan_all",
    "scan_tables",
    "stem",
]
