"""The arithmetic isobatch-1 in plain Python, written from docs/arithmetic.md, not from the kernels.

One number at a time and slow; the compiled kernels must give its bits. Numbers are
np.float32, whose + - * / and square root are those of IEEE 754; functions call each other by their
names in this module, so that a test can replace one rule.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from isobatch.checkpoint import ModelConfig
from isobatch.specification import AttentionSpec, BlockSpec, Disentangled, LinearStep, Rotary
from isobatch.types import ScoreActivation

Number = np.float32
Row = list[np.float32]
Added = Sequence[Mapping[int, np.float32]] | None
"""For each head: the distance key - query → what is added to the score."""
Distances = Mapping[str, Sequence[Mapping[int, Row]]] | None
"""For each product and head: the distance query - key → the row that is multiplied."""

ZERO, HALF, ONE, TWO = Number(0), Number(0.5), Number(1), Number(2)
GELU_P = [0.398942232131958, 0.033852770924568176, 0.004677268676459789, 0.00016882698400877416,
          6.352131549647311e-06, 2.2749340189420764e-08]  # fmt: skip
GELU_Q = [1, 0.2515222132205963, 0.028645943850278854, 0.0018844521837309003,
          7.36479414626956e-05, 1.197504161609686e-06]  # fmt: skip
TANH_P = [0.99999999996458349, 0.1409994135241598, 0.0044269250189650746, 4.2298959477288762e-5,
          1.1132163588401927e-7, 3.6835906257385907e-11]  # fmt: skip
TANH_Q = [1, 0.47433274646802669, 0.029204507885586172, 0.00050102212281211655,
          2.6062032986023086e-6, 2.9565917856531379e-9]  # fmt: skip


def fma(a: Number, b: Number, c: Number) -> Number:
    """Return a b + c, rounded once.

    The product of two float32 is exact in float64. The sum is rounded to odd: it is never a tie
    of float32 unless it is exact, so that the second rounding is the only one.
    """
    product, addend = float(a) * float(b), float(c)
    total = product + addend
    back = total - product
    error = (product - (total - back)) + (addend - back)
    if error and not int(math.ldexp(math.frexp(total)[0], 53)) & 1:
        total = math.nextafter(total, math.copysign(math.inf, error))
    return Number(total)


def multiply_add(a: Number, b: Number, c: Number) -> Number:
    """Return a b + c, rounded twice."""
    return a * b + c


def sum64(row: Row, places: Sequence[int] | None = None) -> Number:
    """Sum the numbers of a row, which are at `places` of it: by default at 0, 1, 2 …"""
    sums = [ZERO] * 64
    for i, number in zip(range(len(row)) if places is None else places, row, strict=True):
        sums[i % 64] += number
    lanes = [(sums[i] + sums[i + 32]) + (sums[i + 16] + sums[i + 48]) for i in range(16)]
    for count in (8, 4, 2, 1):
        lanes = [lanes[i] + lanes[i + count] for i in range(count)]
    return lanes[0]


def exp(x: Number) -> Number:
    x = max(x, Number(-87))
    n = (x * Number(1.44269504) + Number(12582912)) - Number(12582912)
    r = fma(n, Number(2.12194440e-4), fma(n, Number(-0.693359375), x))
    p = ONE / Number(5040)
    for divisor in (720, 120, 24, 6):
        p = fma(p, r, ONE / Number(divisor))
    for term in (HALF, ONE, ONE):
        p = fma(p, r, term)
    return Number(math.ldexp(float(p), int(n)))


def odd(c: Number, above: Sequence[float], below: Sequence[float]) -> Number:
    t = c * c
    p, q = Number(above[5]), Number(below[5])
    for i in (4, 3, 2, 1, 0):
        p = multiply_add(p, t, Number(above[i]))
        q = multiply_add(q, t, Number(below[i]))
    return (c * p) / q


def clamp(x: Number, limit: float) -> Number:
    return min(max(x, Number(-limit)), Number(limit))


def gelu(x: Number) -> Number:
    return x * (HALF + odd(clamp(x, 5.5), GELU_P, GELU_Q))


def tanh(x: Number) -> Number:
    return odd(clamp(x, 9.0), TANH_P, TANH_Q)


def sigmoid(x: Number) -> Number:
    e = exp(-abs(x))
    return (ONE if x >= 0 else e) / (ONE + e)


def gelu_tanh(x: Number) -> Number:
    return x * sigmoid(Number(1.5957691216057308) * (x + Number(0.044715) * ((x * x) * x)))


def mish(x: Number) -> Number:
    e = exp(-abs(x))
    d, q = e + e, e * e
    a, b = (ONE + d, q + q) if x >= 0 else (q + d, TWO)
    return x * (a / (a + b))


def relu(x: Number) -> Number:
    return x if x > 0 else ZERO


ACTIVATIONS: dict[str, Callable[[Number], Number]] = {
    **dict.fromkeys(("gelu", "gelu_python"), lambda x: gelu(x)),
    **dict.fromkeys(
        ("gelu_new", "gelu_fast", "gelu_accurate", "gelu_pytorch_tanh"), lambda x: gelu_tanh(x)
    ),
    "linear": lambda x: x,
    **dict.fromkeys(("silu", "swish"), lambda x: x * sigmoid(x)),
    "relu": relu,
    "relu6": lambda x: min(relu(x), Number(6)),
    "quick_gelu": lambda x: x * sigmoid(Number(1.702) * x),
    "mish": lambda x: mish(x),
    "tanh": lambda x: tanh(x),
    "sigmoid": lambda x: sigmoid(x),
}


def norm(x: Row, weight: Row, bias: Row | None, eps: float, kind: str = "layer") -> Row:
    count = Number(len(x))
    mean = ZERO if kind == "rms" else sum64(x) / count
    centred = [number - mean for number in x]
    variance = sum64([number * number for number in centred]) / count
    i = ONE / np.sqrt(variance + Number(eps))
    if bias is None:
        return [(c * i) * w for c, w in zip(centred, weight, strict=True)]
    return [multiply_add(c * i, w, b) for c, w, b in zip(centred, weight, bias, strict=True)]


def frequency(rotary: Rotary, i: int) -> Number:
    power = Number(float(rotary.theta) ** float(Number(2 * i) / Number(rotary.size)))
    fast = ONE / power
    slow = fast / Number(rotary.factor)
    if rotary.bands is None:
        return slow
    low, high, original = rotary.bands
    w = Number(2 * math.pi) / fast
    if w > Number(original / low):
        return slow
    if w < Number(original / high):
        return fast
    t = (Number(original) / w - Number(low)) / Number(high - low)
    return (ONE - t) * slow + t * fast


def turn(head: Row, rotary: Rotary, place: int) -> Row:
    """Turn the pairs (i, i + half) of a head."""
    half, turned = rotary.size // 2, list(head)
    for i in range(half):
        angle = float(Number(place) * frequency(rotary, i))
        c, s = Number(math.cos(angle)), Number(math.sin(angle))
        low, high = head[i], head[i + half]
        turned[i], turned[i + half] = low * c - high * s, high * c + low * s
    return turned


def add(x: Row, y: Row) -> Row:
    return [a + b for a, b in zip(x, y, strict=True)]


def quantize(row: Row) -> tuple[list[int], Number]:
    """Return the integers of a row, and its scale."""
    largest = max(Number(1e-30), *map(abs, row))
    inverse = Number(127) / largest
    return [int(np.rint(number * inverse)) for number in row], largest / Number(127)


def linear(x: Row, weight: list[Row], bias: Row) -> Row:
    return [product(x, row, start) for row, start in zip(weight, bias, strict=True)]


def product(x: Row, y: Row, start: Number) -> Number:
    for a, b in zip(x, y, strict=True):
        start = fma(a, b, start)
    return start


def int8_linear(x: Row, weight: list[tuple[list[int], Number]], bias: Row) -> Row:
    integers, row_scale = quantize(x)
    sums = [sum(a * b for a, b in zip(integers, row, strict=True)) for row, _ in weight]
    scaled = [Number(s) * scale * row_scale for s, (_, scale) in zip(sums, weight, strict=True)]
    return add(scaled, bias)


def attention(
    q: Row,
    keys: list[Row],
    values: list[Row],
    spec: AttentionSpec,
    place: int,
    added: Added = None,
    distances: Distances = None,
) -> Row:
    """Return the result of the query at `place`, all heads side by side."""
    size = spec.head_dim
    shared = spec.num_heads // (spec.num_key_heads or spec.num_heads)
    f = ONE / np.sqrt(Number(size)) if spec.scale is None else Number(spec.scale)
    read = [j for j in range(len(keys)) if reads(spec, place, j)]
    result = []
    for head in range(spec.num_heads):
        part = slice(head * size, (head + 1) * size)
        of_keys = slice(head // shared * size, (head // shared + 1) * size)
        scores = [product(q[part], keys[j][of_keys], ZERO) for j in read]
        for name, rows in (distances or {}).items():
            scores = [
                score + product(q[part] if name == "c2p" else keys[j][of_keys], row, ZERO)
                for score, j in zip(scores, read, strict=True)
                for row in [rows[head][place - j]]
            ]
        if added is not None:
            scores = [
                score * f + added[head][j - place] for score, j in zip(scores, read, strict=True)
            ]
        p = softmax_powers(scores, f if added is None else ONE)
        u = ONE / sum64(p, read)
        columns = zip(*[values[j][of_keys] for j in read], strict=True)
        result += [product(p, list(v), ZERO) * u for v in columns]
    return result


def distance_row(distance: int, rule: Disentangled) -> int:
    """Return DeBERTa's row of a distance: those beyond span / 2 are grouped by their logarithm."""
    exact, far = rule.span // 2, abs(distance)
    if rule.max_distance is not None and far > exact:
        last = Number(math.log(float(Number((rule.max_distance - 1) / exact))))
        share = Number(math.log(float(Number(far) / Number(exact)))) / last
        far = exact + math.ceil(share * Number(exact - 1))
    row = rule.span + (far if distance > 0 else -far)
    return min(max(row, 0), 2 * rule.span - 1)


def bucket(distance: int) -> int:
    """Return T5's group of a distance: 16 before the query and 16 after it, 8 of them exact."""
    far = abs(distance)
    if far >= 8:
        share = Number(math.log(float(Number(far) / Number(8)))) / Number(math.log(16))
        far = min(15, 8 + math.floor(share * Number(8)))
    return far + 16 * (distance > 0)


def pool(rows: list[Row], kind: str) -> Row:
    if kind in ("first", "last"):
        return rows[0 if kind == "first" else -1]
    count = Number(len(rows))
    while len(rows) > 1:
        half = len(rows) // 2
        added = [add(*pair) for pair in zip(rows[:half], rows[len(rows) - half :], strict=True)]
        rows = added + rows[half : len(rows) - half]
    return [number / count for number in rows[0]]


def reads(spec: AttentionSpec, query: int, key: int) -> bool:
    near = spec.window is None or abs(key - query) <= spec.window
    return near and not (spec.causal and key > query)


def softmax_powers(scores: Row, f: Number) -> Row:
    top = max(scores)
    return [exp((score - top) * f) for score in scores]


def number_positions(ids: Sequence[int], padding_idx: int | None) -> list[int]:
    if padding_idx is None:
        return list(range(len(ids)))
    counted, positions = padding_idx, []
    for each in ids:
        counted += each != padding_idx
        positions.append(padding_idx if each == padding_idx else counted)
    return positions


@dataclass(frozen=True)
class PlainModel:
    """A checkpoint's settings and tensors, under Isobatch's names of them; fp32 or int8."""

    config: ModelConfig
    tensors: Mapping[str, NDArray[np.float32]]
    int8: bool
    _rows: dict[str, list[Any]] = field(default_factory=dict, repr=False)

    def logits(self, ids: Sequence[int], types: Sequence[int]) -> Row:
        """Return the logits of one text."""
        hidden, encoder = self.embed(ids, types), self.config.encoder
        for index in encoder.weights_of or range(encoder.num_layers):
            hidden = self.layer(f"blocks.{index}", hidden)
        hidden = [self.norm("final_norm", row) for row in hidden]
        row = pool(hidden, self.config.head.spec.pools[0])
        for step in self.config.head.spec.steps:
            if isinstance(step, LinearStep):
                row = self.linear(f"head.{step.name}", row, step.activation)
            else:
                row = self.norm(f"head.{step.name}", row)
        return row

    def embed(self, ids: Sequence[int], types: Sequence[int]) -> list[Row]:
        rows = []
        positions = number_positions(ids, self.config.encoder.positions.padding_idx)
        for word, kind, position in zip(ids, types, positions, strict=True):
            row = list(self.tensors["embeddings.word.weight"][word])
            if self.int8:
                integers, scale = quantize(row)
                row = [Number(integer) * scale for integer in integers]
            if "embeddings.token_type.weight" in self.tensors:
                row = add(row, list(self.tensors["embeddings.token_type.weight"][kind]))
            if "embeddings.position.weight" in self.tensors:
                row = add(row, list(self.tensors["embeddings.position.weight"][position]))
            row = self.norm("embeddings.norm", row)
            projects = "embeddings.project.weight" in self.tensors
            rows.append(self.linear("embeddings.project", row) if projects else row)
        return rows

    def layer(self, name: str, hidden: list[Row]) -> list[Row]:
        spec = self.config.encoder.blocks[int(name.rpartition(".")[2])]
        sources = [self.norm(f"{name}.attention_input_norm", x) for x in hidden]
        q, k, v = (
            [self.linear(f"{name}.attention.{part}", row) for row in sources]
            for part in ("query", "key", "value")
        )
        q, k = (
            [
                self.place(f"{name}.attention.{part}_norm", row, spec, at)
                for at, row in enumerate(rows)
            ]
            for part, rows in (("query", q), ("key", k))
        )
        result = []
        added = self.added(len(hidden)) if spec.attention.distances is None else None
        distances = self.distances(name, spec, len(hidden))
        for place, (query, x) in enumerate(zip(q, hidden, strict=True)):
            mixed = attention(query, k, v, spec.attention, place, added, distances)
            y = add(self.linear(f"{name}.attention.output", mixed), x)
            y = self.norm(f"{name}.attention_norm", y)
            source = self.norm(f"{name}.feed_forward_input_norm", y)
            inner = self.linear(f"{name}.up", source, None if spec.gated else spec.activation)
            if spec.gated:
                gate = self.linear(f"{name}.gate", source, spec.activation)
                inner = [a * b for a, b in zip(inner, gate, strict=True)]
            result.append(self.norm(f"{name}.norm", add(self.linear(f"{name}.down", inner), y)))
        return result

    def place(self, name: str, x: Row, spec: BlockSpec, place: int) -> Row:
        """Normalize and turn the heads of one query or key."""
        size, rotary = spec.attention.head_dim, spec.attention.rotary
        heads = [self.norm(name, x[i : i + size], "rms") for i in range(0, len(x), size)]
        heads = heads if rotary is None else [turn(head, rotary, place) for head in heads]
        return [number for head in heads for number in head]

    def added(self, length: int) -> Added:
        """The numbers added to the scores of each head, by the distance of key and query."""
        table = self.tensors.get("relative_positions.table.weight")
        if table is None:
            return None
        distances = range(1 - length, length)
        return [{d: column[bucket(d)] for d in distances} for column in table.T]

    def distances(self, name: str, spec: BlockSpec, length: int) -> Distances:
        """The rows that queries and keys are multiplied by, c2p before p2c."""
        rule, size = spec.attention.distances, spec.attention.head_dim
        if rule is None:
            return None
        found: dict[str, list[dict[int, Row]]] = {}
        table = self.tensors["relative_positions.table.weight"]
        for each, linear in zip(rule.products, rule.linears, strict=True):
            by_distance = {}
            for d in range(1 - length, length):
                row = self.norm("relative_positions.norm", list(table[distance_row(d, rule)]))
                by_distance[d] = self.linear(f"{name}.attention.{linear}", row)
            found[each] = [
                {d: row[first : first + size] for d, row in by_distance.items()}
                for first in range(0, spec.attention.query_size, size)
            ]
        return found

    def norm(self, name: str, x: Row, kind: str | None = None) -> Row:
        """Normalize a row where there is a norm of that name."""
        if f"{name}.weight" not in self.tensors:
            return x
        spec, bias = self.config.encoder.layers[0].norm, self.tensors.get(f"{name}.bias")
        weight = list(self.tensors[f"{name}.weight"])
        return norm(x, weight, None if bias is None else list(bias), spec.eps, kind or spec.kind)

    def linear(self, name: str, x: Row, activation: str | None = None) -> Row:
        rows = len(self.tensors[f"{name}.weight"])
        bias = list(self.tensors.get(f"{name}.bias", np.zeros(rows, np.float32)))
        int8 = self.int8 and name.startswith("blocks.")
        if name not in self._rows:
            rows = [list(row) for row in self.tensors[f"{name}.weight"]]
            self._rows[name] = [quantize(row) for row in rows] if int8 else rows
        y = (int8_linear if int8 else linear)(x, self._rows[name], bias)
        return y if activation is None else [ACTIVATIONS[activation](number) for number in y]


LOG2_E = float.fromhex("0x1.71547652b82fep+0")
LN_2_HIGH, LN_2_LOW = float.fromhex("0x1.62e42feep-1"), float.fromhex("0x1.a39ef35793c76p-33")
EXP64 = [
    float.fromhex("0x1.555555555553ep-3"),
    float.fromhex("-0x1.6c16c16bebd93p-9"),
    float.fromhex("0x1.1566aaf25de2cp-14"),
    float.fromhex("-0x1.bbd41c5d26bf1p-20"),
    float.fromhex("0x1.6376972bea4d0p-25"),
]


def exp64(x: float) -> float:
    if x <= -690:
        return 0.0
    k = math.trunc(x * LOG2_E - 0.5)
    high, low = x - k * LN_2_HIGH, k * LN_2_LOW
    r = high - low
    t = r * r
    p = EXP64[4]
    for coefficient in (EXP64[3], EXP64[2], EXP64[1], EXP64[0]):
        p = coefficient + t * p
    c = r - t * p
    return math.ldexp(1 - ((low - r * c / (2 - c)) - high), k)


def scores(logits: Row, activation: ScoreActivation) -> list[float]:
    numbers = [float(logit) for logit in logits]
    if activation == "softmax":
        powers = [exp64(number - max(numbers)) for number in numbers]
        return [power / math.fsum(powers) for power in powers]
    if activation == "sigmoid":
        powers = [exp64(-abs(number)) for number in numbers]
        return [
            (1 if number >= 0 else power) / (1 + power)
            for number, power in zip(numbers, powers, strict=True)
        ]
    return numbers
