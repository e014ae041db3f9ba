"""Training on a Ray cluster: the weights of one machine, for any workers, also if some die."""

from pathlib import Path

import pytest
from tiny_checkpoints import Tiny, TinyFolder
from training_process import make_weights, training_run
from training_runs import make_examples, make_recipe

from isobatch.errors import JobError
from isobatch.jobs.ray_connection import connected
from isobatch.model import read_model
from isobatch.training.steps.ray_workers import GradientWorker, RayEngine, WorkerSetup
from isobatch.training.steps.state import weights_digest

pytest.importorskip("ray")

TINY = Tiny("bert", num_labels=3)


def test_any_number_of_workers_gives_the_weights_of_one_machine(
    tiny_folder: TinyFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, examples = tiny_folder(TINY), make_examples(TINY)
    recipe = make_recipe(TINY, examples)
    tensors = dict(read_model(checkpoint).named_parameters())
    setup = WorkerSetup(
        make_weights(checkpoint, examples).model.config, tensors, examples, recipe, 1
    )
    digests = []

    def train(name: str, ray: object, workers: int, killed: bool = False) -> None:
        with training_run(checkpoint, examples, recipe, tmp_path / name) as run:
            if workers:
                run.engine = engine = RayEngine(ray, run.weights, setup, workers)
                if killed:
                    run.on_event = lambda _: ray.kill(engine.workers[1])  # type: ignore[attr-defined]
            run.train()
            digests.append(weights_digest(run.optimizer_weights()))
            for worker in engine.workers if workers else ():
                ray.kill(worker)  # type: ignore[attr-defined]

    train("local", None, 0)
    with connected(None, 3) as ray:
        train("one", ray, 1)
        train("three", ray, 3)
        train("killed", ray, 3, killed=True)
        monkeypatch.setattr("isobatch.training.steps.ray_workers.np.__version__", "0.0")
        with pytest.raises(JobError, match="gradients of the workers could differ"):
            train("other", ray, 1)
    assert len(digests) == 4
    assert len({*digests}) == 1


def test_a_worker_computes_on_the_weights_that_it_is_sent(tiny_folder: TinyFolder) -> None:
    checkpoint, examples = tiny_folder(TINY), make_examples(TINY)
    weights = make_weights(checkpoint, examples)
    tensors = dict(read_model(checkpoint).named_parameters())
    recipe = make_recipe(TINY, examples)
    worker = GradientWorker(WorkerSetup(weights.model.config, tensors, examples, recipe, 1))
    assert weights.words is not None
    sent = [each.detach().numpy() for each in [*weights.parameters, weights.words]]
    first = worker.compute(sent, [(0, (0, 1))], 1, 0)
    again = worker.compute([each * 0.5 for each in sent], [(0, (0, 1))], 1, 0)
    assert first.losses.tolist() != again.losses.tolist()
