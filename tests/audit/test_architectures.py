"""Every tiny architecture loads like a checkpoint, gives logits, and is written reproducibly."""

from pathlib import Path

import pytest
import torch
import transformers

from benchmarks.audit.architectures import ARCHITECTURES, Architecture, write_architecture

FIRST, SECOND = "The film is a great comedy, really funny!", "it was not good"
PAD_IDS = {"roberta": 1, "xlm-roberta": 1, "mpnet": 1, "esm": 1, "longformer": 1, "fnet": 3}
PAD_IDS |= {"xlnet": 5, "bart": 1, "data2vec-text": 1, "ibert": 1}
WITHOUT_PAD = ("gpt2", "llama")
PAD_LEFT = ("xlnet", "llama")

each = pytest.mark.parametrize("architecture", ARCHITECTURES, ids=lambda one: one.name)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder of each architecture, never modified."""
    above = tmp_path_factory.mktemp("architectures")
    return {each.name: write_architecture(each, above / each.name) for each in ARCHITECTURES}


@each
def test_a_folder_loads_and_gives_logits(
    architecture: Architecture, folders: dict[str, Path]
) -> None:
    folder = folders[architecture.name]
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    encoded = [tokenizer(text, return_tensors="pt") for text in (FIRST, SECOND)]
    with torch.inference_mode():
        first, second = (model(**each).logits[0] for each in encoded)
    assert torch.isfinite(first).all()
    assert torch.isfinite(second).all()
    assert (first - second).abs().max() > 0.1
    assert tokenizer.unk_token_id not in encoded[1]["input_ids"].flatten().tolist()
    assert tokenizer.pad_token_id == model.config.pad_token_id == pad_id(architecture, tokenizer)
    assert tokenizer.padding_side == ("left" if architecture.name in PAD_LEFT else "right")


def pad_id(
    architecture: Architecture, tokenizer: transformers.PreTrainedTokenizerBase
) -> int | None:
    """That of the family's published checkpoints; ModernBERT's is near the vocabulary's end."""
    if architecture.name in WITHOUT_PAD:
        return None
    near_the_end = len(tokenizer) - 2 if architecture.name == "modernbert" else 0
    return PAD_IDS.get(architecture.name, near_the_end)


@each
def test_written_twice_the_files_are_identical(
    architecture: Architecture, folders: dict[str, Path], tmp_path: Path
) -> None:
    once, again = folders[architecture.name], write_architecture(architecture, tmp_path)
    names = sorted(path.name for path in once.iterdir())
    assert names == sorted(path.name for path in again.iterdir())
    assert all((once / name).read_bytes() == (again / name).read_bytes() for name in names)
