"""More faults, in checkpoints of transformers and in functions: each is caught and named."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from torch import Tensor, nn

from isobatch.audit import audit, subject_of
from isobatch.audit.targets import subject_of_model
from tests.audit.real_checkpoints import bert, bugs, bugs_of, predictor, tokenizer_in
from tests.tiny_checkpoints import Tiny, random_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tokenizers")


class Headed(nn.Module):
    """A real encoder; its mask is edited, and a head of ours reads its states."""

    def __init__(self, edit: Any = None, read: Any = None) -> None:
        super().__init__()
        self.inner, self.edit, self.read = random_model(Tiny("bert")), edit, read
        self.config = self.inner.config
        torch.manual_seed(0)
        self.head = nn.Linear(32, 3)
        self.eval()

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        output_hidden_states: bool = False,
    ) -> dict[str, Any]:
        mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
        seen = self.edit(mask) if self.edit else mask
        hidden = self.inner.base_model(input_ids, attention_mask=seen).last_hidden_state
        pooled = self.read(hidden, mask) if self.read else hidden[:, 0]
        return {"logits": self.head(pooled), "hidden_states": (hidden,)}


def one_more(mask: Tensor) -> Tensor:
    before = torch.cat([torch.zeros_like(mask[:, :1]), mask[:, :-1]], 1)
    return ((mask + before) > 0).long()


def after_the_end(hidden: Tensor, mask: Tensor) -> Tensor:
    place = mask.sum(1).clamp(max=hidden.shape[1] - 1)
    return hidden[torch.arange(len(hidden)), place]


def over_columns(hidden: Tensor, mask: Tensor) -> Tensor:
    return (hidden * mask[:, :, None]).sum(1) / hidden.shape[1]


HEADED = {
    "one more, in batches only": (
        lambda mask: one_more(mask) if len(mask) > 1 else mask,
        None,
        "mask-off-by-one",
    ),
    "forgotten in larger batches": (
        lambda mask: torch.ones_like(mask) if len(mask) > 4 else mask,
        None,
        "mask-dropped",
    ),
    "inverted": (lambda mask: 1 - mask, None, "mask-inverted"),
    "a token after the last": (None, after_the_end, "mask-off-by-one"),
    "mean over pads": (None, lambda hidden, mask: hidden.mean(1), "pads-pooled"),
    "maximum over pads": (None, lambda hidden, mask: hidden.max(1).values, "pads-pooled"),
    "divided by the columns": (None, over_columns, "pad-amount-counts"),
}


@pytest.mark.parametrize("fault", HEADED)
def test_a_fault_around_a_real_encoder_is_named(fault: str, folder: Path) -> None:
    edit, read, name = HEADED[fault]
    subject = subject_of_model(Headed(edit, read), tokenizer_in(folder))
    report = audit(subject, quick=True)
    assert bugs(report) == [name]
    assert all(each.reproduction for each in report.findings if each.severity == "bug")


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_a_head_that_reads_a_pad_on_the_left_is_named(family: str, folder: Path) -> None:
    tokenizer = tokenizer_in(folder, family, padding_side="left")
    report = audit(subject_of_model(random_model(Tiny(family)), tokenizer), quick=True)
    assert bugs(report) == ["first-column-read"]


def test_a_padding_index_that_is_an_ordinary_token_is_named(folder: Path) -> None:
    tokenizer, model = tokenizer_in(folder, "roberta"), random_model(Tiny("roberta"))
    ordinary = tokenizer(" nice", add_special_tokens=False)["input_ids"]
    model.base_model.embeddings.padding_idx = ordinary[0]
    assert bugs(audit(subject_of_model(model, tokenizer), quick=True)) == ["padding-id-positions"]


def decoder() -> Any:
    words = {"n_embd": 32, "n_head": 4, "n_layer": 2, "n_positions": 512}
    config = transformers.GPT2Config(vocab_size=500, num_labels=3, pad_token_id=1, **words)
    torch.manual_seed(0)
    model = transformers.GPT2ForSequenceClassification(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(8 if parameter.dim() > 1 else 1)
    return model


def test_a_decoder_with_another_padding_id_reads_the_last_column(folder: Path) -> None:
    tokenizer = tokenizer_in(folder, "roberta")
    sound = decoder()
    assert bugs(audit(subject_of_model(sound, tokenizer), quick=True)) == []
    sound.config.pad_token_id = 499
    assert bugs(audit(subject_of_model(sound, tokenizer), quick=True)) == ["last-column-read"]


ORDERS: dict[str, Callable[[Sequence[str]], list[str]]] = {
    "by length": lambda texts: sorted(texts, key=len),
    "by length, longest first": lambda texts: sorted(texts, key=len, reverse=True),
    "reversed": lambda texts: list(reversed(texts)),
    "by the alphabet": sorted,
}


@pytest.mark.parametrize("num_labels", [1, 3])
@pytest.mark.parametrize("order", ORDERS)
def test_a_wrong_order_is_named_and_shown(order: str, num_labels: int, folder: Path) -> None:
    predict = predictor(folder, bert(num_labels))
    report = audit(subject_of(lambda texts: predict(ORDERS[order](texts))), quick=True)
    assert bugs(report) == ["order-not-restored"]
    assert report.findings[0].reproduction


@pytest.mark.parametrize("seed", range(6))
def test_answers_of_one_number_that_move_are_not_taken_for_a_wrong_order(
    seed: int, folder: Path
) -> None:
    one = predictor(folder, bert(1, seed), masked=False)
    two = predictor(folder, bert(2, seed), masked=False, after=lambda logits: logits.softmax(-1))
    assert bugs_of(one, quick=False) == bugs_of(two, quick=False) == ["padding-counts"]


def test_answers_that_are_lost_are_named(folder: Path) -> None:
    predict = predictor(folder, bert())
    assert bugs_of(lambda texts: predict(list(dict.fromkeys(texts)))) == ["answers-lost"]

    def without_empties(texts: Sequence[str]) -> Any:
        full = [text for text in texts if text]
        return predict(full) if full else np.zeros((0, 3))

    assert bugs_of(without_empties) == ["answers-lost"]


def test_a_batch_that_cannot_be_padded_is_named_from_the_start(folder: Path) -> None:
    predict = predictor(folder, bert())

    def one_length(texts: Sequence[str]) -> Any:
        if len({len(text) for text in texts}) > 1:
            raise ValueError("expected sequences of one length")
        return predict(texts)

    assert bugs_of(one_length) == ["batch-fails"]


def test_texts_that_are_cut_to_the_shortest_are_caught_and_shown(folder: Path) -> None:
    predict = predictor(folder, bert())

    def shortest(texts: Sequence[str]) -> Any:
        return predict([text[: min(map(len, texts))] for text in texts])

    report = audit(subject_of(shortest), quick=True)
    assert report.verdict == "bug"
    assert report.findings[0].reproduction


def test_texts_that_are_taken_for_others_are_named(folder: Path) -> None:
    predict = predictor(folder, bert())

    def by_beginning(texts: Sequence[str]) -> Any:
        known: dict[str, Any] = {}
        for text in texts:
            known.setdefault(text[:10], predict([text])[0])
        return [known[text[:10]] for text in texts]

    report = audit(subject_of(by_beginning), quick=True)
    assert bugs(report) == ["texts-confused"]
    shown = report.findings[0].reproduction
    assert shown
    assert shown.text[:10] == shown.other_text[:10]


def test_a_cache_that_lasts_is_worth_a_note(folder: Path) -> None:
    predict, known = predictor(folder, bert()), {}

    def cached(texts: Sequence[str]) -> Any:
        for text in texts:
            known.setdefault(text[:10], predict([text])[0])
        return [known[text[:10]] for text in texts]

    report = audit(subject_of(cached), quick=True)
    (result,) = (each for each in report.probes if each.probe == "look-alikes")
    assert result.status == "note"
    assert "begin alike" in result.summary


def test_no_number_is_named_and_shown(folder: Path) -> None:
    predict = predictor(folder, bert())

    def broken(texts: Sequence[str], most: int) -> Any:
        short = torch.tensor([[len(text.split()) <= most] for text in texts])
        return torch.where(short, torch.nan, predict(texts))

    for most, name in ((0, "empty-texts-break"), (1, "not-finite")):
        report = audit(subject_of(lambda texts, most=most: broken(texts, most)))
        assert bugs(report) == [name]
        shown = report.findings[0].reproduction
        assert shown
        assert not np.isfinite(shown.before).all()


def test_small_logits_hide_no_fault(folder: Path) -> None:
    small = Headed(one_more)
    with torch.no_grad():
        small.head.weight.mul_(1e-3)
        small.head.bias.zero_()
    assert bugs(audit(subject_of_model(small, tokenizer_in(folder)), quick=True)) == [
        "mask-off-by-one"
    ]
