"""Names of tensors that several families spell alike: fused parts, and Llama's projections."""

from collections.abc import Sequence

from isobatch.checkpoint.families.family import TensorPart

ATTENTION = "blocks.{i}.attention"


def fused(ours: Sequence[str], theirs: str) -> dict[str, TensorPart]:
    """Name the parts of one tensor, in the order of its rows."""
    return {name: TensorPart(theirs, index, len(ours)) for index, name in enumerate(ours)}


def fused_attention(theirs: str) -> dict[str, TensorPart]:
    """Name queries, keys and values of each layer, which are one tensor."""
    return fused([f"{ATTENTION}.{name}" for name in ("query", "key", "value")], theirs)


def attention_projections(
    theirs: str, *, ours: str = ATTENTION, output: str = "o_proj"
) -> dict[str, str]:
    """Name the linears of an attention, q_proj and so on; that of the output varies."""
    projections = {"query": "q_proj", "key": "k_proj", "value": "v_proj", "output": output}
    return {f"{ours}.{name}": f"{theirs}.{each}" for name, each in projections.items()}


GATED_PROJECTIONS = {
    f"blocks.{{i}}.{name}": f"layers.{{i}}.mlp.{name}_proj" for name in ("gate", "up", "down")
}
"""The linears of a gated feed-forward."""
