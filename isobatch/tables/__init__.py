"""Files of rows: read in bounded memory, written with columns added and nothing else changed.

It knows nothing of models, jobs or classification. What is exported here is the whole interface.
Invariant: every row comes out, in order and cell by cell as it stood, or a TableError says where
and why not.
"""

from isobatch.tables.added import AddedField, AddedKind
from isobatch.tables.formats import (
    COMPRESSIONS,
    FORMATS,
    Compression,
    Dialect,
    Format,
    TableFile,
    recognise,
    stem,
)
from isobatch.tables.inputs import expand_inputs
from isobatch.tables.opening import open_table
from isobatch.tables.rows import MISSING, Missing, Rows, Table, Unreadable
from isobatch.tables.scan import Scan, scan, scan_all
from isobatch.tables.writers import TableWriter, make_writer

__all__ = [
    "COMPRESSIONS",
    "FORMATS",
    "MISSING",
    "AddedField",
    "AddedKind",
    "Compression",
    "Dialect",
    "Format",
    "Missing",
    "Rows",
    "Scan",
    "Table",
    "TableFile",
    "TableWriter",
    "Unreadable",
    "expand_inputs",
    "make_writer",
    "open_table",
    "recognise",
    "scan",
    "scan_all",
    "stem",
]
