"""Labels and ranks of every API go by logits where the scores are equal, because they saturate.

The logits are planted in the classifier, so that all sigmoids are 1.0 in double precision.
"""

from collections.abc import Iterator, Sequence

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from served import client_of, write_tiny
from tiny_checkpoints import Tiny

from isobatch import Classifier
from isobatch.types import Encoding

MULTI = "multi_label_classification"
ORDER = ["LABEL_1", "LABEL_2", "LABEL_0"]


class Saturated(Classifier):
    """The logits 50, 60, 60; of one label, 100 more than the number of tokens."""

    def _outputs(self, encodings: Sequence[Encoding]) -> NDArray[np.float32]:
        if len(self.labels) == 1:
            return np.array([[100 + len(each)] for each in encodings], dtype=np.float32)
        return np.array([[50, 60, 60]] * len(encodings), dtype=np.float32)


@pytest.fixture
def several(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = write_tiny(
        tmp_path_factory.mktemp("tiny"), Tiny("bert", num_labels=3, problem_type=MULTI)
    )
    with client_of(Saturated.from_pretrained(folder)) as client:
        yield client


@pytest.mark.parametrize("path", ["/predict", "/"])
def test_ranked_labels_go_by_logits(several: httpx.Client, path: str) -> None:
    (ranked,) = several.post(path, json={"inputs": ["a b"]}).json()
    assert [each["score"] for each in ranked] == [1.0] * 3
    assert [each["label"] for each in ranked] == ORDER


def test_the_first_labels_go_by_logits(several: httpx.Client) -> None:
    body = {"inputs": "a b", "parameters": {"top_k": 1}}
    (ranked,) = several.post("/", json=body).json()
    assert [each["label"] for each in ranked] == ORDER[:1]


def test_the_label_of_vllm_s_api_goes_by_logits(several: httpx.Client) -> None:
    (classified,) = several.post("/classify", json={"input": "a b"}).json()["data"]
    assert (classified["label"], classified["probs"]) == ("LABEL_1", [1.0] * 3)


def test_ranks_of_a_reranker_go_by_logits(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = write_tiny(tmp_path_factory.mktemp("tiny"), Tiny("bert", num_labels=1))
    with client_of(Saturated.from_pretrained(folder)) as client:
        body = {"query": "a", "texts": ["b", "b c d", "b c"]}
        ranks = client.post("/rerank", json=body).json()
    assert [each["score"] for each in ranks] == [1.0] * 3
    assert [each["index"] for each in ranks] == [1, 2, 0]
