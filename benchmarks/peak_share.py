"""How much of the peak rate of its instructions a product or a block reaches.

Operations are counted as two for each multiplication and addition of a product; activations, norms,
softmax and rounding count as nothing, so that a block's share is what they leave of the peak.
"""

from typing import NamedTuple

from benchmarks.schema import Rates


class BlockShape(NamedTuple):
    """The block that is measured: DistilBERT's sizes, texts of equal length."""

    texts: int
    length: int
    hidden: int
    intermediate: int

    @property
    def product_operations(self) -> int:
        """Operations of the six products."""
        inner = 4 * self.hidden**2 + 2 * self.hidden * self.intermediate
        return 2 * self.texts * self.length * inner

    @property
    def attention_operations(self) -> int:
        """Operations of queries with keys and of weights with values, always in fp32."""
        return 4 * self.texts * self.length**2 * self.hidden

    def __str__(self) -> str:
        return (
            f"a DistilBERT block ({self.hidden}/{self.intermediate}), {self.texts} texts of "
            f"{self.length} tokens"
        )


BLOCK = BlockShape(texts=4, length=128, hidden=768, intermediate=3072)
PRODUCTS = {"48×768×768": (48, 768, 768), "512×768×3072": (512, 768, 3072)}
"""Rows, columns in, columns out."""


def product_shares(rates: Rates) -> dict[str, float]:
    """Return each product's rate over the peak."""
    return {shape: rate / rates["peak"] for shape, rate in rates["products"].items()}


def block_share(rates: Rates, block: BlockShape = BLOCK) -> float:
    """Return the time that a block would take at the peaks over the time that it takes."""
    products = block.product_operations / rates["peak"]
    attention = block.attention_operations / rates["fp32_peak"]
    return (products + attention) * 1e-9 / rates["block_seconds"]
