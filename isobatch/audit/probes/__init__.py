"""All probes, in the order in which they run: those that explain most come first."""

from isobatch.audit.probes import batch_neighbours, edge_cases, pads
from isobatch.audit.session import Probe

PROBES: tuple[Probe, ...] = (
    edge_cases.repeated_runs,
    batch_neighbours.order,
    batch_neighbours.neighbours,
    batch_neighbours.activation_scales,
    pads.mask_honoured,
    pads.head_pooling,
    pads.pad_amount,
    pads.pad_side,
    pads.position_offsets,
    pads.pad_id_inside,
    batch_neighbours.neighbour_length,
    batch_neighbours.look_alikes,
    batch_neighbours.requests_in_flight,
    batch_neighbours.batch_size,
    edge_cases.thread_count,
    edge_cases.short_texts,
    edge_cases.truncation,
    edge_cases.half_precision,
    pads.mask_forgotten,
)
