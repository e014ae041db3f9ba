"""The errors and warnings of Isobatch, in one tree, and the exit code of each.

    IsobatchError
    ├── CheckpointError            a folder, file or hub id that cannot be used
    │   ├── UnsupportedModelError  a family, activation or option that is not implemented
    │   ├── TensorMismatchError    missing, unexpected or misshapen tensors
    │   └── MissingHeadError       an encoder without a sequence-classification head
    ├── InputError                 a text that cannot be classified; names its index
    │   └── TooLongError           a text longer than the model, under truncation="error"
    ├── OptionError                an argument that makes no sense
    │   └── PrecisionError         this processor lacks what a precision needs
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
    """A text cannot be classified; the message names its index."""


class TooLongError(InputError):
    """A text has more tokens than the model takes, and truncation="error" was asked for."""


class OptionError(IsobatchError, ValueError):
    """An argument or option has a value that makes no sense here."""


class PrecisionError(OptionError):
    """A precision that this machine cannot compute; the message names those that it can."""


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
}
"""Exit code of the command line for each branch of the tree; 1 is for anything unforeseen."""


def exit_code(error: IsobatchError) -> int:
    """Return the exit code of the nearest class above `error` that has one."""
    return next((EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES), 1)
