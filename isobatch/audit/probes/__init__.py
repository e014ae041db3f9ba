"""All probes, in the order in which they are run: what explains most comes first.

Each module holds probes that change one kind of thing.
"""

from isobatch.audit.probes.company import (
    activation_scales,
    batch_size,
    company_length,
    neighbours,
    order,
    requests_in_flight,
)
from isobatch.audit.probes.edges import short_texts, truncation
from isobatch.audit.probes.look_alikes import look_alikes
from isobatch.audit.probes.machine import half_precision, repeated_runs, thread_count
from isobatch.audit.probes.pads import (
    head_pooling,
    mask_forgotten,
    mask_honoured,
    pad_amount,
    pad_side,
)
from isobatch.audit.probes.positions import pad_id_inside, position_offsets
from isobatch.audit.probing import Probe

PROBES: tuple[Probe, ...] = (
    repeated_runs,
    order,
    neighbours,
    activation_scales,
    mask_honoured,
    head_pooling,
    pad_amount,
    pad_side,
    position_offsets,
    pad_id_inside,
    company_length,
    look_alikes,
    requests_in_flight,
    batch_size,
    thread_count,
    short_texts,
    truncation,
    half_precision,
    mask_forgotten,
)

__all__ = ["PROBES"]
