"""A language model as a reranker: its logit for "yes" at the end of a text, less that for "no".

Both come from rows of its output matrix, whose difference is a head of one row. Invariant: which
tokens these are is stated by a file or by the caller, never guessed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors import safe_open
from torch import Tensor

from isobatch.checkpoint.checkpoint_tokenizer import read_tokenizer
from isobatch.checkpoint.json_files import read_json, read_json_list
from isobatch.checkpoint.quantized import join_scale, scale_name
from isobatch.checkpoint.sentence_modules import MODULES
from isobatch.checkpoint.unreadable import is_there
from isobatch.checkpoint.weight_files import StoredTensor
from isobatch.errors import CheckpointError, MissingHeadError, OptionError

_MODULE = ".LogitScore"
_OUTPUT = "lm_head.weight"


@dataclass(frozen=True, slots=True)
class AnswerTokens:
    """The ids of the tokens that mean that a text is an answer, and that it is none.

    false: None for the logit of `true` alone. tied: the output matrix is the table of words.
    """

    true: int
    false: int | None = None
    tied: bool = False


def read_answer_tokens(
    folder: Path, true_token: str | None, false_token: str | None
) -> AnswerTokens | None:
    """Return the tokens that the caller names, or the LogitScore of modules.json; None for neither.

    Raises OptionError for a name that is not a token, CheckpointError for files that cannot be
    read.
    """
    if true_token is None:
        if false_token is not None:
            raise OptionError("false_token needs a true_token. Pass both, as the model's card says")
        return _stated_tokens(folder)
    vocabulary = read_tokenizer(folder).backend

    def token_id(name: str, token: str) -> int:
        found = vocabulary.token_to_id(token)
        if found is None:
            raise OptionError(
                f"{name} {token!r} is not a token of {folder}. Write it as in the vocabulary: "
                '"yes" and "Yes" are two tokens, and a space before a word is often written "Ġ"'
            )
        return int(found)

    false = None if false_token is None else token_id("false_token", false_token)
    return AnswerTokens(token_id("true_token", true_token), false)


def _stated_tokens(folder: Path) -> AnswerTokens | None:
    """Read what sentence-transformers 5.4 and later write for such a reranker."""
    if not is_there(folder / MODULES):
        return None
    for module in read_json_list(folder / MODULES):
        if not isinstance(module, dict) or not str(module.get("type")).endswith(_MODULE):
            continue
        place = folder / str(module.get("path")) / "config.json"
        raw = read_json(place)
        true, false = raw.get("true_token_id"), raw.get("false_token_id")
        if not isinstance(true, int) or not isinstance(false, int | None):
            raise CheckpointError(
                f"{place}: true_token_id and false_token_id must be ids, got {true!r} and {false!r}"
            )
        return AnswerTokens(true, false)
    return None


def read_answer_row(
    folder: Path, stored: Sequence[StoredTensor], words: Sequence[str], answers: AnswerTokens
) -> Tensor:
    """Read the head of one row, float32 or narrower [1, hidden].

    words: the names that the table of words may have. Raises MissingHeadError if the matrix is not
    there, OptionError for an id that it has no row of.
    """
    tensors = {tensor.name: tensor for tensor in stored}
    named = words if answers.tied else (_OUTPUT,)
    name = next((each for each in named if each in tensors), None)
    if name is None:
        raise MissingHeadError(
            f"{folder}: has no {named[0]}, whose rows are the logits of tokens. Use a checkpoint "
            "saved by a ...ForCausalLM class"
        )
    scale = tensors.get(scale_name(name))
    row = _read_row(tensors[name], scale, answers.true)
    return row if answers.false is None else row - _read_row(tensors[name], scale, answers.false)


def _read_row(stored: StoredTensor, scale: StoredTensor | None, index: int) -> Tensor:
    if not 0 <= index < stored.shape[0]:
        raise OptionError(
            f"{stored.path}: {stored.name} has {stored.shape[0]} rows, and no token {index}"
        )
    row = _slice(stored, index)
    if scale is None:
        return row.float()
    return join_scale(f"{stored.path}: {stored.name}", row, _slice(scale, index)).dequantize()


def _slice(stored: StoredTensor, index: int) -> Tensor:
    with safe_open(stored.path, framework="pt") as file:
        row: Tensor = file.get_slice(stored.name)[index : index + 1]
        return row
