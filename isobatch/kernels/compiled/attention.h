// softmax(q k^T / sqrt(d)) v of one head of one sequence, in float32.
//
// It sees one sequence and nothing else; every sum runs over keys or sizes from first to last, or in
// an order that follows from the number of keys alone.
#pragma once
#include "functions.h"
#include "products.h"

namespace isobatch {

// scores[0..keys) become e^(scale (score - max)), what follows them up to a vector zero; returns the
// inverse of their sum.
ONCE float exponentiate(float* scores, int64_t keys, float scale) {
  Floats most = all(-INFINITY);
  for (int64_t j = 0; j < keys; j += LANES)
    most = first_lanes(keys - j, larger(most, load(scores + j)), most);
  const Floats top = all(largest(most));
  Floats sums[SUMS] = {};
  for (int64_t j = 0; j < keys; j += SUM_COLUMNS)
    repeat<SUMS>([&](auto i) UNROLLED {
      const int64_t at = j + LANES * i;
      if (at >= keys) return;
      const Floats below = load(scores + at) - top;
      const Floats power = first_lanes(keys - at, exponential(below * all(scale)), Floats{});
      store(scores + at, power);
      sums[i] = sums[i] + power;
    });
  return 1.0f / sum_columns(sums);
}

struct Head {
  const float* query;  // [queries], rows `stride` apart, as are those of key, value and mixed
  const float* key;
  const float* value;  // sixteen numbers can be read at every column
  float* mixed;
  int64_t queries;
  int64_t keys;
  int64_t stride;
  int64_t size;
};

INLINE int64_t padded_keys(int64_t keys) { return (keys + PANEL - 1) / PANEL * PANEL; }

INLINE int64_t attention_floats(int64_t keys, int64_t size) {
  return padded_keys(keys) * (size + ROWS);
}

template <int R, int V>
INLINE void score(const float* query, int64_t stride, const float* panel, int64_t size,
                  float* scores, int64_t padded) {
  Floats sums[R][V] = {};
  const uint8_t* weight = reinterpret_cast<const uint8_t*>(panel);
  accumulate<Fp32>(sums, reinterpret_cast<const uint8_t*>(query), 4 * stride, weight, 4 * PANEL,
                   4 * LANES, size, Ahead{weight});
  repeat<R>([&](auto r) UNROLLED {
    repeat<V>([&](auto v) UNROLLED { store(scores + r * padded + LANES * v, sums[r][v]); });
  });
}

template <int R, int V>
INLINE void mix(const Head& head, int64_t row, int64_t column, const float* scores, int64_t padded,
                const float* inverse) {
  Floats sums[R][V] = {};
  const uint8_t* weight = reinterpret_cast<const uint8_t*>(head.value + column);
  accumulate<Fp32>(sums, reinterpret_cast<const uint8_t*>(scores), 4 * padded, weight,
                   4 * head.stride, 4 * LANES, head.keys, Ahead{weight});
  repeat<R>([&](auto r) UNROLLED {
    repeat<V>([&](auto v) UNROLLED {
      const int64_t at = column + LANES * v;
      store(head.mixed + (row + r) * head.stride + at, sums[r][v] * all(inverse[r]),
            head.size - at);
    });
  });
}

// Calls f(constant) with the number of vectors of a panel that `keys` keys fill.
template <class F>
INLINE void with_vectors(int64_t keys, F&& f) {
  const int64_t vectors = (keys + LANES - 1) / LANES;
  repeat<VECTORS>([&](auto v) UNROLLED {
    constexpr int COUNT = v + 1;
    if (COUNT == VECTORS ? vectors >= COUNT : vectors == COUNT)
      f(std::integral_constant<int, COUNT>{});
  });
}

// `scratch` holds attention_floats(keys, size) numbers.
ONCE void attend(const Head& head, float* scratch) {
  const int64_t padded = padded_keys(head.keys), size = head.size;
  float *panels = scratch, *scores = scratch + padded * size;
  for (int64_t j = 0; j < head.keys; j += PANEL)
    transpose_panel(head.key + j * head.stride, head.stride, head.keys - j, size,
                    panels + j * size);
  const float scale = 1.0f / __builtin_sqrtf(static_cast<float>(size));
  in_groups(head.queries, [&](int64_t row, auto count) UNROLLED {
    constexpr int R = count;
    const float* query = head.query + row * head.stride;
    for (int64_t j = 0; j < head.keys; j += PANEL)
      with_vectors(head.keys - j, [&](auto vectors) UNROLLED {
        score<R, vectors>(query, head.stride, panels + j * size, size, scores + j, padded);
      });
    float inverse[R];
    for (int r = 0; r < R; r++) inverse[r] = exponentiate(scores + r * padded, head.keys, scale);
    int64_t column = 0;
    for (; column + PANEL <= size; column += PANEL)
      mix<R, VECTORS>(head, row, column, scores, padded, inverse);
    for (; column < size; column += LANES) mix<R, 1>(head, row, column, scores, padded, inverse);
  });
}

}  // namespace isobatch
