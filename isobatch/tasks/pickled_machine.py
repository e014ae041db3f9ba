"""Which machine a pickled pipeline may be loaded on: one whose kernels give the same bits."""

from collections.abc import Mapping
from typing import Any

from isobatch.errors import CheckpointError
from isobatch.kernels import Machine, arithmetic_name, this_machine
from isobatch.tasks.model_engines import engine_of


def check_machine(made: Machine, state: Mapping[str, Any], name: str) -> None:
    """Raise CheckpointError where the pipeline `state`, of class `name`, would have other bits.

    made: the machine that it was pickled on.
    """
    here, precision = this_machine(), state["precision"]
    arithmetic = arithmetic_name((choice.kernel for choice in state["choices"]), precision)
    if here.gives_bits_of(made, arithmetic, precision):
        return
    engine = engine_of(arithmetic)
    option = "" if engine == "native" else f", engine={engine!r}"
    raise CheckpointError(
        f"this {name} was pickled on another machine ({made}; here: {here}), whose kernels may "
        f"give different bits. Load it here: {name}.from_pretrained("
        f"{str(state['folder'])!r}, precision={precision!r}{option})"
    )
