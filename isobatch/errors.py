"""The tree of errors and warnings, with the exit code of each branch.

    IsobatchError
    ├── CheckpointError            a checkpoint that cannot be read or written
    │   ├── UnsupportedModelError  a family, activation or option that is not implemented
    │   ├── TensorMismatchError    missing, unexpected or misshapen tensors
    │   └── MissingHeadError       an encoder without a head for the task
    ├── InputError                 a text that cannot be computed
    │   └── TooLongError           a text too long for the model, with truncation="error"
    ├── TableError                 an input or output file that cannot be read or written
    ├── JobError                   a file job that cannot start, resume or finish
    ├── TrainingError              training that cannot continue
    │   └── TrainingStopped        training that was stopped on request; its state is saved
    ├── OptionError                an invalid argument or option
    │   ├── PrecisionError         a precision that this machine does not support
    │   └── DeviceError            a device that this machine does not have
    ├── NotReproducedError         an output that does not have the expected content
    ├── NotVerifiableError         an output that cannot be recomputed here
    ├── AuditError                 a system under audit that cannot be queried
    └── NotInvariantError          no kernel of this machine is batch-invariant

    IsobatchWarning
    ├── MissingAttentionMaskWarning  a padded batch without a mask: padding was attended to
    ├── MissingEmbeddingWarning      a tokenizer with more tokens than the model has embeddings
    ├── NewWeightsWarning            weights that a checkpoint lacks were drawn at random
    └── OtherTaskWarning             the head of a checkpoint for another task was taken

A message says what is wrong, where, and how to fix it. Wrong output is worse than no output, so no
error is ever caught and replaced by a guess.
"""

from typing import Self


class IsobatchError(Exception):
    """Base of all errors that Isobatch raises on purpose."""


class CheckpointError(IsobatchError):
    """A checkpoint cannot be read from a folder, file or hub id, or cannot be written."""


class UnsupportedModelError(CheckpointError):
    """The checkpoint is valid, but its family or an option in it is not implemented."""


class TensorMismatchError(CheckpointError):
    """The checkpoint's tensors do not match its configuration."""


class MissingHeadError(CheckpointError):
    """The checkpoint has an encoder, but no head for the task, or no pooling for vectors."""


class InputError(IsobatchError, ValueError):
    """A text cannot be computed; the message names its index.

    `reason` is the message without the index, for callers that identify the text in another way.
    """

    def __init__(self, reason: str, index: int | None = None) -> None:
        super().__init__(reason if index is None else f"text {index}: {reason}")
        self.reason = reason

    def at(self, index: int) -> Self:
        """Return the same error of the text with this index."""
        error = type(self)(self.reason, index)
        error.__cause__ = self.__cause__
        return error


class TooLongError(InputError):
    """A text has more tokens than the model supports, with truncation="error"."""


class TableError(IsobatchError):
    """An input or output file cannot be read or written; names the file, and the line if known."""


class JobError(IsobatchError):
    """A file job cannot start, resume or finish; no finished output was overwritten."""


class TrainingError(IsobatchError):
    """Training cannot continue: a loss, a gradient or a logit is not finite."""


class TrainingStopped(TrainingError):  # noqa: N818  # not a failure
    """Training was stopped on request; its state is saved, and it can be resumed."""


class OptionError(IsobatchError, ValueError):
    """An argument or option has an invalid value."""


class PrecisionError(OptionError):
    """This machine does not support the precision; the message lists the supported ones."""


class DeviceError(OptionError):
    """This machine does not have the device."""


class NotReproducedError(IsobatchError):
    """A finished output does not have the expected content."""


class NotVerifiableError(IsobatchError):
    """A finished output cannot be recomputed here; the message says what differs or is missing."""


class AuditError(IsobatchError):
    """A system under audit cannot be loaded or queried, or its responses cannot be parsed."""


class NotInvariantError(IsobatchError):
    """No kernel of this machine passed the invariance check."""


class IsobatchWarning(UserWarning):
    """Base of all warnings: valid calls that are probably mistakes."""


class MissingAttentionMaskWarning(IsobatchWarning):
    """A padded batch was passed without attention_mask, so its padding was attended to."""


class NewWeightsWarning(IsobatchWarning):
    """Weights that the checkpoint lacks, such as a new head, were drawn at random: train them."""


class OtherTaskWarning(IsobatchWarning):
    """The head was trained for another task, says config.json: its predictions are meaningless."""


class MissingEmbeddingWarning(IsobatchWarning):
    """The tokenizer has tokens that the model has no embedding for; texts with them are errors."""


EXIT_CODES: dict[type[IsobatchError], int] = {
    OptionError: 2,
    InputError: 3,
    CheckpointError: 4,
    NotInvariantError: 5,
    TableError: 6,
    JobError: 7,
    AuditError: 8,
    NotReproducedError: 9,
    NotVerifiableError: 10,
    TrainingError: 11,
}
"""Exit code of the command line for each branch of the tree; 1 is for unexpected errors."""


def is_out_of_memory(error: BaseException) -> bool:
    """Recognize Python's and torch's errors, on the CPU and on CUDA, for too little memory."""
    words = ("can't allocate memory", "Cannot allocate memory", "out of memory")
    said = str(error) if isinstance(error, RuntimeError) else ""
    return isinstance(error, MemoryError) or any(each in said for each in words)


def exit_code(error: IsobatchError) -> int:
    """Return the exit code of the most specific class of `error` that has one."""
    return next((EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES), 1)
