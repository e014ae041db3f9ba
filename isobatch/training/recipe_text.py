"""A recipe in words: every value, and which of them were chosen for this base and these texts."""

from isobatch.training.recipe import Recipe, RecipeOptions

GROUPS = {
    "steps": ("epochs", "batch_size", "block_tokens", "seed", "precision"),
    "optimizer": (
        "learning_rate",
        "layer_decay",
        "warm_up",
        "weight_decay",
        "beta1",
        "beta2",
        "epsilon",
        "clip_norm",
        "freeze",
    ),
    "loss": ("label_smoothing", "teacher_weight", "teacher_temperature"),
    "selection": ("metric", "evaluations_per_epoch", "patience", "average_decay"),
}
"""Every field of a recipe but the task, in the order of the lines."""


def describe_recipe(recipe: Recipe, options: RecipeOptions) -> list[str]:
    """Describe a recipe in a line for each group; values that the options left open are marked."""
    return [
        f"{group}: " + ", ".join(_value(name, recipe, options) for name in names)
        for group, names in GROUPS.items()
    ]


def _value(name: str, recipe: Recipe, options: RecipeOptions) -> str:
    value = getattr(recipe, name)
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    chosen = " (chosen)" if getattr(options, name) is None else ""
    return f"{name.replace('_', ' ')} {shown}{chosen}"
