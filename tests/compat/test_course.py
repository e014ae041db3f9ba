"""The Hugging Face course, chapters 1 to 3 as far as they classify, with another import line.

Each test is a script of a chapter in our words; the same lines run with the names of transformers.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import transformers
from compat.conftest import Checkpoint
from tiny_checkpoints import Tiny
from torch.utils.data import DataLoader

import isobatch
from isobatch.errors import NewWeightsWarning

RAW_INPUTS = ["Today is a nice day!", "But what about tomorrow? Im not sure."]
ROWS = [
    {"sentence1": "a nice day", "sentence2": "a fine day", "label": 1, "idx": 0},
    {"sentence1": "nice", "sentence2": "what about a tomorrow", "label": 0, "idx": 1},
    {"sentence1": "not sure", "sentence2": "Im not sure", "label": 1, "idx": 2},
    {"sentence1": "Today is nice", "sentence2": "tomorrow", "label": 0, "idx": 3},
]


@pytest.fixture(params=[isobatch, transformers], ids=["isobatch", "transformers"])
def library(request: pytest.FixtureRequest) -> ModuleType:
    return request.param


@pytest.fixture
def folder(checkpoint: Checkpoint) -> str:
    return str(checkpoint(Tiny("bert", dropout=0.0)))


def test_chapter_1_pipelines(library: ModuleType, folder: str) -> None:
    classifier = library.pipeline("sentiment-analysis", model=folder)
    (one,) = classifier("I've been waiting for a course my whole life.")
    assert list(one) == ["label", "score"]
    several = classifier([*RAW_INPUTS, "nice"])
    assert [type(each) for each in several] == [dict] * 3
    assert classifier(RAW_INPUTS[0]) == several[:1] or math.isclose(
        classifier(RAW_INPUTS[0])[0]["score"], several[0]["score"], rel_tol=1e-4
    )


def test_chapter_2_behind_the_pipeline(library: ModuleType, folder: str) -> None:
    tokenizer = library.AutoTokenizer.from_pretrained(folder)
    inputs = tokenizer(RAW_INPUTS, padding=True, truncation=True, return_tensors="pt")
    model = library.AutoModel.from_pretrained(folder)
    outputs = model(**inputs)
    assert outputs.last_hidden_state.shape == (*inputs["input_ids"].shape, 32)
    assert outputs[0] is outputs["last_hidden_state"]
    model = library.AutoModelForSequenceClassification.from_pretrained(folder)
    outputs = model(**inputs)
    predictions = torch.nn.functional.softmax(outputs.logits, dim=-1)
    assert predictions.shape == (2, 2)
    best = [model.config.id2label[index] for index in predictions.argmax(dim=-1).tolist()]
    pipe = library.pipeline("text-classification", model=folder)
    assert [answer["label"] for answer in pipe(RAW_INPUTS)] == best


def test_chapter_2_models(library: ModuleType, folder: str, tmp_path: Path) -> None:
    config = library.AutoConfig.from_pretrained(folder)
    assert config.hidden_size == 32
    model = library.AutoModel.from_config(config)
    model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    again = library.AutoModel.from_pretrained(tmp_path)
    ids = torch.tensor([[2, 7, 8, 3], [2, 9, 10, 3]])
    assert torch.equal(again(ids)[0], model.eval()(ids)[0])


def test_chapter_2_tokenizers(library: ModuleType, folder: str, tmp_path: Path) -> None:
    tokenizer = library.AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer.tokenize("Using a nice tokenizer")
    ids = tokenizer.convert_tokens_to_ids(tokens)
    assert tokenizer.decode(ids) == "using a nice tokenizer"
    assert tokenizer("Using a nice tokenizer").input_ids == [
        tokenizer.cls_token_id,
        *ids,
        tokenizer.sep_token_id,
    ]
    tokenizer.save_pretrained(tmp_path)
    assert (tmp_path / "tokenizer.json").exists()


def test_chapter_2_several_sequences(library: ModuleType, folder: str) -> None:
    tokenizer = library.AutoTokenizer.from_pretrained(folder)
    model = library.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    ids = tokenizer.convert_tokens_to_ids(tokenizer.tokenize(RAW_INPUTS[0]))
    alone = model(torch.tensor([ids])).logits
    twice = model(torch.tensor([ids, ids])).logits
    torch.testing.assert_close(twice[0], alone[0], atol=1e-5, rtol=0)
    batched = [[7, 7, 7], [7, 7, tokenizer.pad_token_id]]
    mask = torch.tensor([[1, 1, 1], [1, 1, 0]])
    logits = model(torch.tensor(batched), attention_mask=mask).logits
    short = model(torch.tensor([batched[1][:2]])).logits
    torch.testing.assert_close(logits[1], short[0], atol=1e-5, rtol=0)
    with pytest.raises((ValueError, IndexError)):
        model(torch.tensor(ids))  # the lesson of the section: a batch is expected


def test_chapter_3_a_dataset_of_pairs(library: ModuleType, folder: str) -> None:
    tokenizer = library.AutoTokenizer.from_pretrained(folder)
    both = tokenizer([row["sentence1"] for row in ROWS], [row["sentence2"] for row in ROWS])
    assert both.token_type_ids[0][0] == 0
    assert both.token_type_ids[0][-1] == 1
    assert tokenizer.convert_ids_to_tokens(both["input_ids"][0])[0] == "[CLS]"
    columns = {name: [row[name] for row in ROWS] for name in ROWS[0]}
    mapped = columns | dict(
        tokenizer(columns["sentence1"], columns["sentence2"], truncation=True)
    )  # as datasets.map(..., batched=True) does
    samples = {
        name: values
        for name, values in mapped.items()
        if name not in ("idx", "sentence1", "sentence2")
    }
    rows = [{name: samples[name][index] for name in samples} for index in range(len(ROWS))]
    batch = library.DataCollatorWithPadding(tokenizer=tokenizer)(rows)
    width = max(map(len, samples["input_ids"]))
    assert {name: value.shape for name, value in batch.items()} == {
        "input_ids": (4, width),
        "token_type_ids": (4, width),
        "attention_mask": (4, width),
        "labels": (4,),
    }


def batches(library: ModuleType, folder: str) -> Iterator[Any]:
    tokenizer = library.AutoTokenizer.from_pretrained(folder)
    rows = [
        {**tokenizer(row["sentence1"], row["sentence2"], truncation=True), "labels": row["label"]}
        for row in ROWS
    ]
    collate = library.DataCollatorWithPadding(tokenizer=tokenizer)
    return iter(DataLoader(rows, batch_size=2, collate_fn=collate))


def train(library: ModuleType, folder: str, model: Any) -> list[float]:
    """Two epochs by hand, as in the last section of chapter 3."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    scheduler = transformers.get_scheduler(
        "linear", optimizer=optimizer, num_warmup_steps=0, num_training_steps=4
    )
    device = torch.device("cpu")
    model.to(device)
    model.train()
    losses = []
    for _ in range(2):
        for batch in batches(library, folder):
            batch = {name: value.to(device) for name, value in batch.items()}
            loss = model(**batch).loss
            loss.backward()
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()
            losses.append(loss.item())
    return losses


@pytest.mark.filterwarnings("ignore:Detected call of `lr_scheduler")
def test_chapter_3_a_training_loop(folder: str, tmp_path: Path) -> None:
    losses, models = {}, {}
    for library in (isobatch, transformers):
        model = library.AutoModelForSequenceClassification.from_pretrained(folder)
        losses[library] = train(library, folder, model)
        models[library] = model.eval()
    ours, theirs = losses.values()
    torch.testing.assert_close(torch.tensor(ours), torch.tensor(theirs), atol=1e-3, rtol=0)
    assert ours[-1] < ours[0]
    correct = 0
    for batch in batches(isobatch, folder):
        with torch.no_grad():
            logits = models[isobatch](**batch).logits
        correct += int((logits.argmax(dim=-1) == batch["labels"]).sum())
    assert 0 <= correct <= len(ROWS)
    models[isobatch].save_pretrained(tmp_path)
    again = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path)
    torch.testing.assert_close(again(**batch).logits, logits, atol=1e-5, rtol=0)


def test_chapter_3_fine_tuning_starts_from_an_encoder(
    library: ModuleType, folder: str, tmp_path: Path
) -> None:
    transformers.AutoModelForMaskedLM.from_pretrained(folder).save_pretrained(tmp_path)
    if library is isobatch:
        with pytest.warns(NewWeightsWarning, match=r"classifier\.weight"):
            model = library.AutoModelForSequenceClassification.from_pretrained(
                tmp_path, num_labels=2
            )
    else:
        model = library.AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=2)
    assert model.num_labels == 2
    assert not model.training


def trainer_of(library: ModuleType, folder: str, output: Path) -> Any:
    tokenizer = library.AutoTokenizer.from_pretrained(folder)
    rows = [
        {**tokenizer(row["sentence1"], row["sentence2"]), "label": row["label"], "idx": index}
        for index, row in enumerate(ROWS)
    ]
    arguments = transformers.TrainingArguments(
        output_dir=str(output),
        num_train_epochs=2,
        per_device_train_batch_size=2,
        weight_decay=0.1,
        learning_rate=1e-3,
        eval_strategy="epoch",
        save_strategy="epoch",
        load_best_model_at_end=True,
        logging_steps=1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
    )
    return transformers.Trainer(
        model=library.AutoModelForSequenceClassification.from_pretrained(folder),
        args=arguments,
        train_dataset=rows,
        eval_dataset=rows,
        data_collator=library.DataCollatorWithPadding(tokenizer=tokenizer),
        processing_class=tokenizer,
        compute_metrics=lambda result: {"rows": len(result.predictions)},
    )


@pytest.mark.filterwarnings("ignore")  # of the Trainer
def test_chapter_3_the_trainer(folder: str, tmp_path: Path) -> None:
    pytest.importorskip("accelerate", reason="transformers' Trainer needs it")
    losses = []
    for library in (isobatch, transformers):
        trainer = trainer_of(library, folder, tmp_path / library.__name__)
        trainer.train()
        assert trainer.evaluate()["eval_rows"] == len(ROWS)
        assert trainer.predict(trainer.eval_dataset).predictions.shape == (4, 2)
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    torch.testing.assert_close(*map(torch.tensor, losses), atol=1e-3, rtol=0)


def test_the_trainer_finds_what_it_looks_for(folder: str) -> None:
    """Without accelerate: the functions by which the Trainer inspects a model."""
    from transformers.trainer_pt_utils import get_parameter_names
    from transformers.utils.generic import find_labels

    models = [
        library.AutoModelForSequenceClassification.from_pretrained(folder)
        for library in (isobatch, transformers)
    ]
    assert find_labels(type(models[0])) == ["labels"]
    assert models[0].accepts_loss_kwargs is False
    decayed = [
        set(get_parameter_names(model, [torch.nn.LayerNorm], ["bias", "layernorm"]))
        for model in models
    ]
    assert decayed[0] == decayed[1] != set()
    assert decayed[0] < dict(models[0].named_parameters()).keys()
