"""The library itself: imported when it is needed, and without its log lines."""

import importlib
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import ModuleType
from typing import Any

from isobatch.extras import needs_extra

EXTRA = "transformers"


def library(module: str = "transformers") -> Any:
    """Import `module` of the library. OptionError, naming the extra, if it is not installed."""
    with needs_extra(EXTRA, 'engine="transformers"'):
        return importlib.import_module(module)


@contextmanager
def quiet(logging: ModuleType | None = None) -> Iterator[None]:
    """Suppress the warnings, log lines and progress bars of transformers.

    logging: its module transformers.utils.logging, of a caller that has imported it.
    """
    log: Any = logging or library("transformers.utils.logging")
    verbosity, has_bars = log.get_verbosity(), log.is_progress_bar_enabled()
    # Only where it differs: setting a level clears the cache of every logger, which took a
    # fifth of the time of an audit of a tiny model.
    if verbosity != log.ERROR:
        log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        if log.get_verbosity() != verbosity:
            log.set_verbosity(verbosity)
        if has_bars:
            log.enable_progress_bar()


def random_tensors(loaded: Mapping[str, Any]) -> list[str]:
    """Name the tensors that `from_pretrained` drew at random: missing or of the wrong shape ones.

    loaded: its second result, with output_loading_info=True. Each mismatched key is a name, or a
    name with two shapes.
    """
    mismatched = (
        each[0] if isinstance(each, tuple | list) else each for each in loaded["mismatched_keys"]
    )
    return sorted({*map(str, loaded["missing_keys"]), *map(str, mismatched)})
