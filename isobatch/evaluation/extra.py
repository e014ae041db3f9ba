"""What evaluation needs beside the package: the libraries of the extra `evaluate`."""

from contextlib import AbstractContextManager

from isobatch.extras import needs_extra


def evaluate_extra() -> AbstractContextManager[None]:
    """Surround the imports of the extra; OptionError if one of them fails."""
    return needs_extra("evaluate", "evaluation")
