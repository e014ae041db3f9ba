"""A process that prints digests of a Classifier's answers twice: its own, and those of a fork.

python ambient_process.py FOLDER PRECISION…: in another locale and with other threads than usual.
"""

import hashlib
import locale
import os
import sys
from contextlib import suppress

import torch

from isobatch import Classifier
from isobatch.types import PRECISIONS

TEXTS = ["Today is a nice day!", "not sure", "a gripping film, with a cast " * 3]


def digest(classifier: Classifier) -> str:
    """The SHA-256 of the predictions, alone and together."""
    answers = [classifier(TEXTS), *(classifier(text) for text in TEXTS)]
    return hashlib.sha256(repr(answers).encode()).hexdigest()


def main(folder: str, *precisions: str) -> None:
    with suppress(locale.Error):  # where it is installed
        locale.setlocale(locale.LC_ALL, "de_DE.UTF-8")
    torch.set_num_interop_threads(3)
    loaded = [
        Classifier.from_pretrained(folder, precision=each)
        for each in PRECISIONS
        if each in precisions
    ]
    print(*map(digest, loaded), flush=True)  # noqa: T201
    child = os.fork()
    if not child:
        print(*map(digest, loaded), flush=True)  # noqa: T201
        os._exit(0)
    os.waitpid(child, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
