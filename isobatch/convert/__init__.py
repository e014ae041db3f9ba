"""Conversion of checkpoints that are not loaded as they are: pickles, wrapped names, LoRA adapters.

The only room that opens a pickle, by `isobatch convert` and `convert_checkpoint` alone; no
`from_pretrained` reaches it. `restricted_pickle` reads one without executing anything of it.
"""

from isobatch.convert.folder_conversion import convert_checkpoint
from isobatch.convert.report import ConvertReport

__all__ = ["ConvertReport", "convert_checkpoint"]
