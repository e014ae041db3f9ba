"""Distillation: a student learns a teacher's logits, also from texts without labels."""

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_checkpoints import Tiny, TinyFolder
from tokenizer_folders import write_wordpiece_folder
from training.whole_checkpoints import edit_config, write_whole

from isobatch import Classifier
from isobatch.checkpoint import parse_config
from isobatch.errors import InputError, OptionError
from isobatch.jobs import manifest
from isobatch.jobs.exclusive_lock import exclusive_lock
from isobatch.training.data.label_scheme import LabelScheme
from isobatch.training.fit import fit
from isobatch.training.initial_model import read_initial_model
from isobatch.training.student import keep_blocks
from isobatch.training.teacher import check_teacher, teacher_logits

SCHEME = LabelScheme("single", ("LABEL_1", "LABEL_0", "LABEL_2"), "")
TEXTS = [f"word {number} the {'good' if number % 2 else 'bad'} one" for number in range(40)]


@pytest.fixture(scope="module")
def teacher(tiny_folder: TinyFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import shutil

    folder = tmp_path_factory.mktemp("teacher") / "bert"
    shutil.copytree(tiny_folder(Tiny("bert", num_labels=3, num_layers=3)), folder)
    return write_wordpiece_folder(folder, "bert")


def test_logits_are_those_of_the_teacher_by_label_and_kept(teacher: Path, tmp_path: Path) -> None:
    found = teacher_logits(teacher, TEXTS, SCHEME, tmp_path)
    expected = Classifier.from_pretrained(teacher).logits(TEXTS)
    assert np.array_equal(found, expected[:, [1, 0, 2]])
    (output,) = tmp_path.glob("teacher-*[!s].jsonl")
    assert json.loads(output.read_text().splitlines()[0])["logits"] == expected[0].tolist()
    before = output.stat().st_mtime_ns
    assert np.array_equal(teacher_logits(teacher, TEXTS, SCHEME, tmp_path), found)
    assert output.stat().st_mtime_ns == before


def test_logits_that_another_training_computes_are_awaited(teacher: Path, tmp_path: Path) -> None:
    expected = teacher_logits(teacher, TEXTS, SCHEME, tmp_path)
    (source,) = tmp_path.glob("teacher-*.texts.jsonl")
    written, notes = source.stat().st_mtime_ns, list[str]()
    with ThreadPoolExecutor(1) as other:
        with exclusive_lock(tmp_path / ".isobatch" / source.name, source, "training"):
            waiting = other.submit(
                teacher_logits, teacher, TEXTS, SCHEME, tmp_path, on_note=notes.append
            )
            while not notes:
                assert not waiting.done()
                time.sleep(0.01)
        assert np.array_equal(waiting.result(), expected)
    assert "another training computes the logits of these texts" in notes[0]
    assert source.stat().st_mtime_ns == written


def test_logits_of_other_versions_are_computed_again_and_a_restart_computes_all(
    teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = teacher_logits(teacher, TEXTS, SCHEME, tmp_path)
    computed: list[int] = []

    def ask(*, restart: bool = False) -> bool:
        found = teacher_logits(
            teacher,
            TEXTS,
            SCHEME,
            tmp_path,
            on_progress=lambda progress: computed.append(progress.done.rows),
            restart=restart,
        )
        return np.array_equal(found, expected)

    assert (ask(), computed) == (True, [0])
    assert (ask(restart=True), computed[-1]) == (True, len(TEXTS))
    monkeypatch.setattr(manifest, "MANIFEST_FORMAT", 99)
    assert (ask(), computed[-1]) == (True, len(TEXTS))
    assert len([*tmp_path.glob("teacher-*[!s].jsonl")]) == 2


def test_pairs_are_read_as_pairs(teacher: Path, tmp_path: Path) -> None:
    pairs = [(text, "the other one") for text in TEXTS[:3]]
    found = teacher_logits(teacher, pairs, SCHEME, tmp_path)
    assert np.array_equal(found, Classifier.from_pretrained(teacher).logits(pairs)[:, [1, 0, 2]])


@pytest.mark.parametrize(
    ("scheme", "message"),
    [
        (LabelScheme("single", ("a", "b", "c"), ""), "predicts LABEL_0, LABEL_1, LABEL_2"),
        (LabelScheme("multi", ("LABEL_0", "LABEL_1", "LABEL_2"), ""), "for another task"),
    ],
)
def test_another_teacher_is_rejected(
    teacher: Path, tmp_path: Path, scheme: LabelScheme, message: str
) -> None:
    with pytest.raises(OptionError, match=message):
        teacher_logits(teacher, TEXTS, scheme, tmp_path)


@pytest.mark.parametrize(("number", "kept"), [(1, [0]), (2, [0, 2]), (3, [0, 1, 2])])
def test_a_student_has_evenly_spaced_blocks(teacher: Path, number: int, kept: list[int]) -> None:
    whole = read_initial_model(teacher, "single", SCHEME.labels, 0)
    student = keep_blocks(read_initial_model(teacher, "single", SCHEME.labels, 0), number)
    for block, index in zip(student.model.blocks, kept, strict=True):
        expected = whole.model.blocks[index].state_dict()
        assert all(torch.equal(t, expected[name]) for name, t in block.state_dict().items())
    assert student.raw_config["num_hidden_layers"] == number
    with pytest.raises(OptionError, match="layers must be from 1 to 3"):
        keep_blocks(whole, 4)


def test_a_student_of_modernbert_keeps_the_kinds_of_its_layers(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    folder = write_whole(tmp_path / "base", Tiny("modernbert", num_layers=5), tiny_folder)
    student = keep_blocks(read_initial_model(folder, "single", ("LABEL_0", "LABEL_1"), 0), 3)
    kinds = ["full_attention", "sliding_attention", "sliding_attention"]
    assert student.raw_config["layer_types"] == kinds
    assert parse_config(student.raw_config).encoder == student.model.config.encoder


def test_a_shallow_student_learns_from_texts_without_labels(teacher: Path, tmp_path: Path) -> None:
    names = [f"LABEL_{number % 3}" for number in range(len(TEXTS))]
    student = fit(
        teacher,
        TEXTS,
        names,
        out=tmp_path / "student",
        teacher=teacher,
        unlabelled=["something else", "and this"],
        layers=1,
        epochs=1,
        batch_size=8,
    )
    record = json.loads((tmp_path / "student/train.json").read_text())
    assert record["options"]["layers"] == 1
    assert record["texts"]["unlabelled"]["number"] == 2
    assert record["teacher"]["sha256"]
    card = (tmp_path / "student/README.md").read_text()
    assert f"It also learned the logits of {teacher.name}." in card
    assert "| texts without a label | 2, learned from the teacher |" in card
    assert f"| teacher | {teacher.name} |" in card
    assert student.config.encoder.num_layers == 1


def test_unlabelled_texts_are_of_the_same_kind(teacher: Path) -> None:
    pairs = [(text, "and more") for text in TEXTS]
    names = [f"LABEL_{number % 3}" for number in range(len(TEXTS))]
    with pytest.raises(InputError, match="unlabelled text 0: this is a single text, but"):
        fit(teacher, pairs, names, teacher=teacher, unlabelled=["a"])


def test_options_without_effect_are_refused() -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"teacher_weight": 0.5}, "--teacher-weight: has no effect without --teacher"),
        ({"label_smoothing": 0.1}, "--label-smoothing: has no effect in a regression"),
    ]
    for options, words in cases:
        with pytest.raises(OptionError, match=words):
            fit(None, TEXTS, [number / 7 for number in range(40)], **options)
    with pytest.raises(OptionError, match="has no effect with --validation"):
        fit(None, TEXTS, [0, 1] * 20, validation=(["a"], [0]), validation_share=0.2)


def test_unlabelled_texts_need_a_teacher() -> None:
    with pytest.raises(OptionError, match="Specify one: --teacher"):
        fit(None, TEXTS, [0, 1] * 20, unlabelled=["a"])


def test_numbers_of_a_teacher_are_found_by_their_names(
    tiny_folder: TinyFolder, tmp_path: Path
) -> None:
    tiny = Tiny("bert", num_labels=2, problem_type="regression")
    folder = write_whole(tmp_path / "teacher", tiny, tiny_folder)
    edit_config(folder, id2label={"0": "b", "1": "a"}, label2id={"b": 0, "a": 1})
    assert check_teacher(folder, LabelScheme("regression", ("a", "b"), "")) == [1, 0]
    with pytest.raises(OptionError, match="predicts b, a, but the labels"):
        check_teacher(folder, LabelScheme("regression", ("a", "c"), ""))
