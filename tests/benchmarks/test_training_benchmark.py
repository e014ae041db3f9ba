"""The training benchmark: its tables, the share of grouped steps, and the process of a side."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from benchmark_results import AVX2, AVX512
from tiny_checkpoints import Tiny, write_checkpoint

from benchmarks import BenchmarkError
from benchmarks.arguments import bundled_checkpoint
from benchmarks.result_files import newest_by_kind, write_result_by_kind
from benchmarks.training.accuracy import default_epochs
from benchmarks.training.side_process import SIDES, Round, Side, started
from benchmarks.training.training_table import (
    render_accuracy,
    render_kinds,
    render_speed,
    speed_ratio,
)
from benchmarks.training.workloads import BATCH_SIZE, TrainingWorkload, spread_steps
from benchmarks.workload import read_labelled_articles
from isobatch.training.initial_model import read_initial_model
from isobatch.training.recipe import RecipeOptions, complete_recipe

RATE = 1e-4


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> TrainingWorkload:
    """Two labels in turns, for a tiny model with the tokenizer of the bundled one."""
    folder = tmp_path_factory.mktemp("base")
    write_checkpoint(folder, Tiny("distilbert", num_layers=1, vocab_size=30_522))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(bundled_checkpoint().folder / name, folder)
    numbers = range(4 * BATCH_SIZE)
    texts = [f"{'good ' * (number % 5)}text {number}" for number in numbers]
    return TrainingWorkload(folder, RATE, 2, texts, [number % 2 for number in numbers])


def rounds(seconds: float, memory: float = 100.0, tokens: int = 640) -> list[dict[str, Any]]:
    one = {"tokens": tokens, "computed": 2 * tokens, "peak_memory_mb": memory}
    return [{"seconds": seconds * noise, **one} for noise in (1.0, 9.0, 1.1)]


def speed_result(flags: list[str] = AVX2, **seconds: float) -> dict[str, Any]:
    sides = {side.name: rounds(seconds.get(side.name.replace("-", "_"), 2.0)) for side in SIDES}
    workload = {"checkpoint": "A shape", "corpus": "Texts", "steps": 2, "sides": sides}
    return {**footnote(flags), "rounds": 3, "workloads": [workload]}


def footnote(flags: list[str]) -> dict[str, Any]:
    return {
        "date": "2026-11-26T01:02:03+00:00",
        "machine": {"cpu": "A processor", "instruction_sets": flags},
        "versions": {"torch": "2"},
        "threads": 2,
    }


def test_a_ratio_is_of_rounds_and_of_real_tokens() -> None:
    workload = speed_result(isobatch=1.0)["workloads"][0]
    assert speed_ratio(workload, "dynamic") == pytest.approx(2.0)
    workload["sides"]["grouped"] = rounds(2.0, tokens=1280)
    assert speed_ratio(workload, "grouped") == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("dynamic", "grouped", "memory", "missed"),
    [(1.5, 1.2, 100.0, 0), (1.49, 1.2, 100.0, 1), (1.5, 1.19, 100.0, 1), (1.5, 1.2, 99.0, 1)],
)
def test_targets(dynamic: float, grouped: float, memory: float, missed: int) -> None:
    result = speed_result(isobatch=1.0, dynamic=dynamic * 1.0001, grouped=grouped * 1.0001)
    result["workloads"][0]["sides"]["dynamic"][-1]["peak_memory_mb"] = memory
    shown = render_speed(result)
    assert shown.count("- **missed**") == missed
    assert shown.count("- met") == 3 - missed


@pytest.mark.parametrize(
    ("accuracy", "seconds", "missed"), [(0.898, 10.0, 0), (0.89, 10.0, 1), (0.898, 21.0, 1)]
)
def test_targets_of_whole_trainings(accuracy: float, seconds: float, missed: int) -> None:
    def run(accuracy: float, seconds: float) -> list[dict[str, float]]:
        return [{"accuracy": accuracy, "seconds": seconds, "peak_memory_mb": 5.0}] * 3

    runs = {"isobatch": run(accuracy, seconds), "grouped": run(0.90, 20.0)}
    sizes = {"epochs": 6, "train_texts": 6_000, "test_texts": 1_600}
    shown = render_accuracy({**footnote(AVX2), **sizes, "runs": runs})
    assert shown.count("**missed**") == missed


def test_each_kind_of_machine_has_its_section(tmp_path: Path) -> None:
    assert render_kinds([], []) == "No result yet."
    for flags in (AVX2, AVX512):
        write_result_by_kind(speed_result(flags), tmp_path)
    shown = render_kinds(newest_by_kind(tmp_path), [])
    assert shown.count("### AVX2") == shown.count("### AVX-512") == 1


def test_grouped_steps_are_spread_over_all_lengths_in_every_round() -> None:
    lengths = [number // BATCH_SIZE + 1 for number in range(200 * BATCH_SIZE)]
    order = spread_steps(range(len(lengths)), lengths, warm_up=1, num_steps=4, rounds=3)
    assert len(order) == 13 * BATCH_SIZE
    means = [
        sum(lengths[index] for index in order[first : first + 4 * BATCH_SIZE]) / (4 * BATCH_SIZE)
        for first in range(BATCH_SIZE, len(order), 4 * BATCH_SIZE)
    ]
    assert means == pytest.approx([100.5] * 3, rel=0.02)
    in_order = [
        sum(lengths[index] for index in range(first, first + 4 * BATCH_SIZE)) / (4 * BATCH_SIZE)
        for first in range(BATCH_SIZE, len(order), 4 * BATCH_SIZE)
    ]
    assert max(in_order) < 20  # the first steps of the order are the shortest


@pytest.mark.parametrize("side", SIDES, ids=lambda side: side.name)
def test_a_side_trains_in_rounds(side: Side, workload: TrainingWorkload, tmp_path: Path) -> None:
    pytest.importorskip("accelerate")
    with started(side, workload, 1, tmp_path, warm_up=1, steps=1) as process:
        found = [process.train_round() for _ in range(2)]
    for one in found:
        assert isinstance(one, Round)
        assert 0 < one.tokens <= one.computed
        assert one.seconds > 0
        assert one.peak_memory_mb > 100
    if side.name == "padded-128":
        assert found[0].computed == BATCH_SIZE * 128
    elif side.name in ("isobatch", "no-promise"):
        assert found[0].computed == found[0].tokens


def test_sides_train_the_same_texts_in_the_same_steps(
    workload: TrainingWorkload, tmp_path: Path
) -> None:
    pytest.importorskip("accelerate")
    from isobatch.training.steps.order import draw_order

    ordered = workload.take(draw_order(len(workload.texts), 0, 0))
    tokens = []
    for side, texts in ((SIDES[0], workload), (SIDES[1], ordered), (SIDES[1], workload)):
        with started(side, texts, 1, tmp_path, warm_up=1, steps=1) as process:
            tokens.append([process.train_round().tokens for _ in range(3)])
    assert tokens[0] == tokens[1] != tokens[2]


def test_articles_have_numbers_for_labels(tmp_path: Path) -> None:
    for folder, name, content in (
        ("sst2", "dev.tsv", "sentence\tlabel\nfine\t1\n"),
        ("agnews", "test.tsv", "a game\tSports\na share\tBusiness\nanother game\tSports\n"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(content, encoding="utf-8")
    texts = ["a game", "a share", "another game"]
    assert read_labelled_articles(tmp_path, None) == (texts, [1, 0, 1])
    assert read_labelled_articles(tmp_path, 1) == (texts[:1], [1])
    with pytest.raises(BenchmarkError, match="ISOBATCH_DATA"):
        read_labelled_articles(tmp_path / "missing", None)


def test_a_failure_in_the_process_is_reported(workload: TrainingWorkload, tmp_path: Path) -> None:
    broken = Side("broken", "Broken", "isobatch_training", "no_such_function")
    with (
        pytest.raises(BenchmarkError, match="no_such_function"),
        started(broken, workload, 1, tmp_path, warm_up=1, steps=1),
    ):
        pass


def test_the_trainer_has_the_rates_and_epochs_of_the_default_recipe() -> None:
    model = read_initial_model(None, "single", ["0", "1"], 0).model
    recipe = complete_recipe(RecipeOptions(), "single", model.config, 5_400)
    assert recipe.epochs == default_epochs(6_000)
    assert recipe.learning_rate == RATE
    assert recipe.batch_size == BATCH_SIZE
    given = recipe.warm_up, recipe.weight_decay, recipe.clip_norm
    assert given == (0.1, 0.01, 1.0)
