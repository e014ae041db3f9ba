"""The claims, each with what was measured for it and whether that confirms it.

They know the numbers of `measurements.py`, not how those came about. Invariant: a verdict is
computed from numbers, and the evidence that it prints is those numbers.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from benchmarks.audit.decoders import DecoderMeasured
from benchmarks.audit.measurements import Measured
from benchmarks.audit.sources import families_with, num_matches
from benchmarks.audit.warnings import Heard

DRIFT = 1e-4
"""What rounding does in float32 stays below; what a fault does lies above."""

_SILENT = "bert distilbert roberta xlm_roberta electra albert camembert mpnet ernie modernbert"
SILENT = (*_SILENT.split(), "nomic_bert", "eurobert")
FROM_PAD = ("roberta", "xlm-roberta", "mpnet", "longformer", "esm", "data2vec-text", "ibert")
EAGER = ("mpnet", "deberta", "deberta-v2", "roformer")
MIXERS = {"convbert": "its convolutions", "nystromformer": "its convolution and landmarks"}
WARN = "warn_if_padding_and_no_attention_mask"


@dataclass(frozen=True, slots=True)
class Claim:
    """A claim, whether it holds, and by which numbers."""

    text: str
    holds: bool
    evidence: str


@dataclass(frozen=True, slots=True)
class Evidence:
    """All measurements: by architecture, of decoders, YOSO with its convolution, warnings."""

    measured: Mapping[str, Measured]
    decoders: Mapping[str, DecoderMeasured]
    yoso_with_convolution: Measured
    heard: Heard

    @property
    def sound(self) -> dict[str, Measured]:
        """Those that masked pads move by rounding at most."""
        return {name: one for name, one in self.measured.items() if one.pads[7] < DRIFT}


def judge(evidence: Evidence) -> list[Claim]:
    """Every claim, those of one kind together."""
    groups = (_of_warnings, _of_sources, _of_mixers, _of_positions, _of_decoders, _of_causes)
    return [claim for group in groups for claim in group(evidence)]


def _of_warnings(evidence: Evidence) -> list[Claim]:
    callers, heard = families_with(WARN), evidence.heard
    ours = {name.replace("-", "_"): one.warnings for name, one in evidence.measured.items()}
    quiet = {name: ours[name] for name in SILENT if name in ours}
    warned = sorted(name for name, one in evidence.measured.items() if one.warnings)
    again = {name: evidence.measured[name].warnings_again for name in warned}
    return [
        Claim(
            "32 model files warn of pads without a mask (" + WARN + ")",
            len(callers) == 32,
            f"{len(callers)}",
        ),
        Claim(
            f"the files of {', '.join(SILENT)} do not",
            not callers & {*SILENT} and not any(quiet.values()),
            f"{len(callers & {*SILENT})} call it; of {len(quiet)} that were run, "
            f"{sum(map(bool, quiet.values()))} warned; those that did: {', '.join(warned)}",
        ),
        Claim(
            "the warning looks only at the first and last column",
            heard.in_last_column == 1 and heard.inside == 0,
            f"records: pad id in the last column {heard.in_last_column}, inside {heard.inside}",
        ),
        Claim("the warning comes once per process", not any(again.values()), _second_calls(again)),
    ]


def _second_calls(again: Mapping[str, int]) -> str:
    return f"{len(again)} warned at the first call, {sum(map(bool, again.values()))} at the second"


def _of_sources(evidence: Evidence) -> list[Claim]:
    classifiers = families_with(r"^class \w+ForSequenceClassification\b")
    shifting = families_with("create_position_ids_from_input_ids")
    every = families_with("")
    eager = {name: evidence.measured[name].eager_only for name in EAGER}
    return [
        Claim(
            "135 of 549 model dirs define a ...ForSequenceClassification",
            (len(classifiers), len(every)) == (135, 549),
            f"{len(classifiers)} of {len(every)}",
        ),
        Claim(
            "29 model dirs use create_position_ids_from_input_ids",
            len(shifting) == 29,
            f"{len(shifting)}: {', '.join(sorted(shifting))}",
        ),
        Claim(
            "mpnet, deberta, deberta_v2, roformer: eager only",
            all(eager.values()),
            f"{sum(eager.values())} of {len(eager)} have no flag of another attention",
        ),
    ]


def _of_mixers(evidence: Evidence) -> list[Claim]:
    measured = evidence.measured
    fnet, yoso, funnel = measured["fnet"], measured["yoso"], measured["funnel"]
    uses = num_matches("fnet", "attention_mask")
    return [
        Claim(
            "fnet: the model file has 0 uses of attention_mask; a passed mask is swallowed",
            uses == 0 and not fnet.mask_read,
            f"uses {uses}; mask read: {fnet.mask_read}; {_mixing(fnet)}",
        ),
        *(
            Claim(f"{name}: pads reach the answer through {how}", one.content > DRIFT, _mixing(one))
            for name, how in MIXERS.items()
            for one in [measured[name]]
        ),
        Claim(
            "nystromformer: the number of pads matters (its landmarks depend on the length)",
            measured["nystromformer"].pads[1] != measured["nystromformer"].pads[64],
            _mixing(measured["nystromformer"]),
        ),
        Claim(
            "yoso multiplies by the mask, so pads do not reach the answer",
            yoso.mask_read and yoso.content < DRIFT,
            f"mask read: {yoso.mask_read}; {_mixing(yoso)}; with conv_window: mask read: "
            f"{evidence.yoso_with_convolution.mask_read}; "
            f"{_mixing(evidence.yoso_with_convolution)}",
        ),
        Claim(
            "funnel: pools the sequence, mask pooled with min, so pads do not reach the answer",
            funnel.content < DRIFT,
            _mixing(funnel),
        ),
        *(_pads_inside(name, measured[name]) for name in ("longformer", "big_bird")),
        *_of_canine(measured["canine"]),
    ]


def _of_canine(one: Measured) -> list[Claim]:
    """Its molecules lie one place behind their mask, so the one that mixes pads in is not seen."""
    hidden = one.content_in_encoder or 0.0
    return [
        Claim(
            "canine: its convolution over characters mixes pads into hidden states",
            hidden > DRIFT,
            f"content of pads, in the hidden state of the last character {hidden:.1e}",
        ),
        Claim(
            "canine: and so the content of pads reaches the answer",
            one.content > DRIFT,
            _mixing(one),
        ),
        Claim("canine: or their number does", max(one.pads.values()) > DRIFT, _mixing(one)),
    ]


def _pads_inside(name: str, one: Measured) -> Claim:
    return Claim(
        f"{name}: pads internally to window or block, without reaching the answer",
        one.content == 0.0 and one.long_text.pads < DRIFT,
        f"{_mixing(one)}; long text: pads {one.long_text.pads:.1e}, shorter neighbour "
        f"{one.long_text.shorter:.1e}, a short text before it {one.long_text.history:.1e}",
    )


def _mixing(one: Measured) -> str:
    pads = ", ".join(f"+{count}: {move:.1e}" for count, move in one.pads.items())
    return f"content {one.content:.1e}, pads {pads}"


def _of_positions(evidence: Evidence) -> list[Claim]:
    shifts = {name: one.positions_shift for name, one in evidence.measured.items()}
    ours = {name: shifts[name] for name in FROM_PAD}
    others = {name: shift for name, shift in shifts.items() if name not in FROM_PAD and shift}
    return [
        Claim(
            "these count positions by ids != pad: the pad's id inside a text shifts them",
            all(shift is not None and shift > DRIFT for shift in ours.values()),
            _listed(ours),
        ),
        Claim("and no others here", not others, f"others that shift: {_listed(others) or 'none'}"),
    ]


def _of_decoders(evidence: Evidence) -> list[Claim]:
    decoders = evidence.decoders
    return [
        _each(decoders, "the pooled position comes from ids != pad, not from the mask", _by_ids),
        _each(decoders, "pad == eos and a text ending in eos: wrong token", _eos_lost),
        _each(
            decoders,
            "without a pad id: error for more than one row",
            lambda one: (bool(one.error_without_pad), one.error_without_pad),
        ),
    ]


def _by_ids(one: DecoderMeasured) -> tuple[bool, str]:
    numbers = f"content of masked right pads {one.content_right:.1e}, left {one.content_left:.1e}"
    return one.content_right > DRIFT > one.content_left, numbers


def _eos_lost(one: DecoderMeasured) -> tuple[bool, str]:
    return one.eos_read_with_pad < DRIFT < one.alone_against_batched, (
        f"eos at the end moves {one.eos_read_without_pad:.1e} without a pad id and "
        f"{one.eos_read_with_pad:.1e} with pad == eos; the same text in both ways "
        f"{one.alone_against_batched:.1e} apart"
    )


def _each(
    decoders: Mapping[str, DecoderMeasured],
    text: str,
    test: Callable[[DecoderMeasured], tuple[bool, str]],
) -> Claim:
    found = {name: test(one) for name, one in decoders.items()}
    evidence = "; ".join(f"{name}: {numbers}" for name, (_, numbers) in found.items())
    return Claim(f"decoders: {text}", all(holds for holds, _ in found.values()), evidence)


def _of_causes(evidence: Evidence) -> list[Claim]:
    measured, sound = evidence.measured, evidence.sound
    dropped = {name: one.mask_dropped for name, one in measured.items()}
    nan = {
        f"{name} {dtype}"
        for name, one in measured.items()
        for dtype, low in one.lowered.items()
        if low.masked_row_is_nan
    }
    sdpa = {name: one for name, one in sound.items() if not one.eager_only}
    return [
        Claim(
            "no attention_mask: 1e-1 and up",
            all(move > 0.1 for move in dropped.values()),
            _listed(dropped),
        ),
        Claim(
            "an all-masked row gives NaN in half precision, in some architectures",
            bool(nan),
            ", ".join(sorted(nan)),
        ),
        Claim(
            "kernel choice by shape: 1e-7 to 1e-6 in fp32 on CPU",
            all(1e-7 <= one.company <= 1e-6 for one in sound.values()),
            f"into company of its length: {_span(one.company for one in sound.values())}",
        ),
        Claim(
            "SDPA: one padded neighbour moves rows without pads (the mask is dropped without it)",
            any(one.shorter or one.long_text.shorter for one in sdpa.values()),
            _listed({name: max(one.shorter, one.long_text.shorter) for name, one in sdpa.items()}),
        ),
    ]


def _listed(moves: Mapping[str, float | None]) -> str:
    return ", ".join(
        f"{name} {'—' if move is None else format(move, '.1e')}" for name, move in moves.items()
    )


def _span(moves: Iterable[float]) -> str:
    found = sorted(moves)
    return f"{found[0]:.1e} to {found[-1]:.1e}"
