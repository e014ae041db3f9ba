"""Finds a learning rate with scikit-learn's grid search over `TextClassifier`.

Run: `pip install "isobatch[train]"`, then `python grid_search.py`; it takes seconds.
"""

import random
import tempfile

import torch
from sklearn.model_selection import GridSearchCV

from isobatch import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer
from isobatch.sklearn import TextClassifier

WORDS = {
    "good": ["fine", "lovely", "great", "warm", "funny"],
    "bad": ["dull", "sad", "poor", "cold", "flat"],
}


def main() -> GridSearchCV:
    texts, labels = make_reviews(80)
    with tempfile.TemporaryDirectory() as base:
        write_tiny_base(base)  # so that this takes seconds; `base` may be any checkpoint
        estimator = TextClassifier(
            base, epochs=8, batch_size=8, metric="log_loss", validation_share=0.25, random_state=0
        )
        search = GridSearchCV(estimator, {"learning_rate": [1e-4, 1e-2]}, cv=2)
        search.fit(texts, labels)
    results = search.cv_results_
    for tried, accuracy in zip(results["params"], results["mean_test_score"], strict=True):
        print(f"{tried}: accuracy {accuracy:.2f}")
    # A fit depends only on its texts and parameters, so threads never explain a difference.
    print("best:", search.best_params_)
    print("a warm, lovely film:", search.predict(["a warm, lovely film"])[0])
    return search


def make_reviews(number: int) -> tuple[list[str], list[str]]:
    """Make reviews of two words each, which decide the label."""
    rng = random.Random(0)
    labels = [("good", "bad")[row % 2] for row in range(number)]
    pairs = [rng.sample(WORDS[label], 2) for label in labels]
    return [f"a {first}, {second} film" for first, second in pairs], labels


def write_tiny_base(folder: str) -> None:
    """Write a model of one narrow layer, with random weights and the bundled vocabulary."""
    torch.manual_seed(0)  # the new weights are drawn from torch's generator
    config = AutoConfig.from_pretrained()
    config.dim, config.n_heads, config.n_layers, config.hidden_dim = 32, 2, 1, 64
    config.initializer_range = 0.1  # learns faster from few texts
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained().save_pretrained(folder)


if __name__ == "__main__":
    main()
