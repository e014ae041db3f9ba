"""The errors and warnings of Isobatch, in one tree, and the exit code of each.

    IsobatchError
    ├── CheckpointError            a folder, file or hub id that cannot be used
    │   ├── UnsupportedModelError  a family, activation or option that is not implemented
    │   ├── TensorMismatchError    missing, unexpected or misshapen tensors
    │   └── MissingHeadError       an encoder without a sequence-classification head
    ├── InputError                 a text that cannot be classified; names its index
    │   └── TooLongError           a text longer than the model, under truncation="error"
    ├── TableError                 a file of rows that cannot be read or written
    ├── JobError                   a job that cannot begin or go on where it stands
    ├── OptionError                an argument that makes no sense
    │   └── PrecisionError         this processor lacks what a precision needs
    ├── AuditError                 a system under audit gave what cannot be read as answers
    └── NotInvariantError          this machine's kernels cannot keep the promise

    IsobatchWarning
    └── MissingAttentionMaskWarning  pads were attended to, as asked

Every message says what was wrong, where, and what to do. Wrong output is worse than no output, so
nothing here is ever caught and replaced by a guess.
"""


class IsobatchError(Exception):
    """Anything that Isobatch refuses to do."""


class CheckpointError(IsobatchError):
    """A folder, file or hub id cannot be read as a checkpoint."""


class UnsupportedModelError(CheckpointError):
    """The checkpoint is sound, but of a kind that is not implemented."""


class TensorMismatchError(CheckpointError):
    """The checkpoint's tensors are not those that its configuration asks for."""


class MissingHeadError(CheckpointError):
    """The checkpoint holds an encoder, but no sequence-classification head."""


class InputError(IsobatchError, ValueError):
    """A text cannot be classified; the message names its index.

    `reason` is the message without the index, for callers that name the text in another way.
    """

    def __init__(self, reason: str, index: int | None = None) -> None:
        super().__init__(reason if index is None else f"text {index}: {reason}")
        self.reason = reason


class TooLongError(InputError):
    """A text has more tokens than the model takes, and truncation="error" was asked for."""


class TableError(IsobatchError):
    """A file of rows cannot be read or written; the message names the file, and the line."""


class JobError(IsobatchError):
    """A file job cannot begin, or cannot go on from where it stands; nothing was overwritten."""


class OptionError(IsobatchError, ValueError):
    """An argument or option has a value that makes no sense here."""


class PrecisionError(OptionError):
    """A precision that this machine cannot compute; the message names those that it can."""


class AuditError(IsobatchError):
    """A system under audit answered what cannot be read as answers, or failed to answer."""


class NotInvariantError(IsobatchError):
    """No kernel of this machine gave a row the same bits in every batch."""


class IsobatchWarning(UserWarning):
    """Anything that Isobatch does as asked, but that the caller probably did not mean."""


class MissingAttentionMaskWarning(IsobatchWarning):
    """A padded batch came without its attention_mask, so that its pads were attended to."""


EXIT_CODES: dict[type[IsobatchError], int] = {
    OptionError: 2,
    InputError: 3,
    CheckpointError: 4,
    NotInvariantError: 5,
    TableError: 6,
    JobError: 7,
    AuditError: 8,
}
"""Exit code of the command line for each branch of the tree; 1 is for anything unforeseen."""


def exit_code(error: IsobatchError) -> int:
    """Return the exit code of the nearest class above `error` that has one."""
    return next((EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES), 1)
