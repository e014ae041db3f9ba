"""configure_logging: logs of `isobatch serve` and its libraries, on stderr in one format."""

import logging
import os
import sys

from isobatch.serve.log_format import JsonLines, PlainLines


def configure_logging(*, as_json: bool) -> None:
    """Send all logs of the process to stderr only, in one format: Python's warnings too.

    Libraries log from WARNING on. Without a stderr there are no logs.
    """
    output = logging.NullHandler() if sys.stderr is None else logging.StreamHandler(sys.stderr)
    output.setFormatter(JsonLines() if as_json else PlainLines())
    for name in ("isobatch", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [output]
        logger.setLevel(logging.INFO)
        logger.propagate = False
    if as_json:
        os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"  # they are not lines
        logging.captureWarnings(False)  # `main` may have replaced the function since
        logging.captureWarnings(True)
        logging.getLogger("huggingface_hub").handlers = [output]
        logging.getLogger().handlers = [output]
