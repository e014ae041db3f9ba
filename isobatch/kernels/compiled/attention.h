// softmax(q k^T / sqrt(d)) v of one head of one sequence, in float32.
//
// It sees one sequence and nothing else; every sum runs over keys or sizes from first to last, or in
// an order that follows from the number of keys alone.
#pragma once
#include <cmath>

#include "products.h"

namespace isobatch {

// e^x for x <= 0: 2^n e^r with |r| <= ln(2)/2 and the Taylor series of e^r up to r^7 / 7!.
INLINE __m512 exponential(__m512 x) {
  x = _mm512_max_ps(x, _mm512_set1_ps(-87.0f));
  const __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)),
                                        _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
  __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
  r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
  constexpr float FACTORS[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
  __m512 power = _mm512_set1_ps(1.0f / 5040);
  for (float factor : FACTORS) power = _mm512_fmadd_ps(power, r, _mm512_set1_ps(factor));
  return _mm512_scalef_ps(power, n);
}

INLINE __mmask16 first_lanes(int64_t count) {
  return count >= LANES ? 0xffff : static_cast<__mmask16>((1 << std::max<int64_t>(count, 0)) - 1);
}

// scores[0..keys) become e^(scale (score - max)), what follows them up to a vector zero; returns the
// inverse of their sum.
INLINE float exponentiate(float* scores, int64_t keys, float scale) {
  __m512 largest = _mm512_set1_ps(-INFINITY);
  for (int64_t j = 0; j < keys; j += LANES)
    largest = _mm512_mask_max_ps(largest, first_lanes(keys - j), largest,
                                 _mm512_loadu_ps(scores + j));
  const __m512 top = _mm512_set1_ps(_mm512_reduce_max_ps(largest));
  __m512 sums[VECTORS] = {};
  for (int64_t j = 0; j < keys; j += LANES) {
    const __m512 below = _mm512_sub_ps(_mm512_loadu_ps(scores + j), top);
    const __m512 power = _mm512_maskz_mov_ps(
        first_lanes(keys - j), exponential(_mm512_mul_ps(below, _mm512_set1_ps(scale))));
    _mm512_storeu_ps(scores + j, power);
    sums[j / LANES % VECTORS] = _mm512_add_ps(sums[j / LANES % VECTORS], power);
  }
  return 1.0f / sum_columns(sums);
}

struct Head {
  const float* query;  // [queries], rows `stride` apart, as are those of key, value and mixed
  const float* key;
  const float* value;
  float* mixed;
  int64_t queries;
  int64_t keys;
  int64_t stride;
  int64_t size;
};

inline int64_t attention_floats(int64_t keys, int64_t size) {
  const int64_t padded = (keys + COLUMNS - 1) / COLUMNS * COLUMNS;
  return padded * (size + ROWS);
}

template <int R, int V>
INLINE void score(const float* query, int64_t stride, const float* panel, int64_t size,
                  float* scores, int64_t padded) {
  __m512 sums[R][V] = {};
  accumulate<Fp32>(sums, reinterpret_cast<const uint8_t*>(query), 4 * stride,
                   reinterpret_cast<const uint8_t*>(panel), 4 * COLUMNS, size);
  repeat<R>([&](auto r) UNROLLED {
    repeat<V>([&](auto v) UNROLLED {
      _mm512_storeu_ps(scores + r * padded + LANES * v, sums[r][v]);
    });
  });
}

template <int R, int V>
INLINE void mix(const Head& head, int64_t row, int64_t column, const float* scores, int64_t padded,
                const float* inverse) {
  __m512 sums[R][V] = {};
  accumulate<Fp32>(sums, reinterpret_cast<const uint8_t*>(scores), 4 * padded,
                   reinterpret_cast<const uint8_t*>(head.value + column), 4 * head.stride,
                   head.keys);
  repeat<R>([&](auto r) UNROLLED {
    repeat<V>([&](auto v) UNROLLED {
      _mm512_storeu_ps(head.mixed + (row + r) * head.stride + column + LANES * v,
                       _mm512_mul_ps(sums[r][v], _mm512_set1_ps(inverse[r])));
    });
  });
}

// `scratch` holds attention_floats(keys, size) numbers; `size` is a multiple of 16.
INLINE void attend(const Head& head, float* scratch) {
  const int64_t padded = (head.keys + COLUMNS - 1) / COLUMNS * COLUMNS, size = head.size;
  float *panels = scratch, *scores = scratch + padded * size;
  for (int64_t j = 0; j < head.keys; j += COLUMNS)
    transpose_panel(head.key + j * head.stride, head.stride, head.keys - j, size,
                    panels + j * size);
  const float scale = 1.0f / std::sqrt(static_cast<float>(size));
  in_groups(head.queries, [&](int64_t row, auto count) UNROLLED {
    constexpr int R = count;
    const float* query = head.query + row * head.stride;
    for (int64_t j = 0; j < head.keys; j += COLUMNS) {
      const float* panel = panels + j * size;
      switch (std::min<int64_t>((head.keys - j + LANES - 1) / LANES, VECTORS)) {
        case 1: score<R, 1>(query, head.stride, panel, size, scores + j, padded); break;
        case 2: score<R, 2>(query, head.stride, panel, size, scores + j, padded); break;
        case 3: score<R, 3>(query, head.stride, panel, size, scores + j, padded); break;
        case 4: score<R, 4>(query, head.stride, panel, size, scores + j, padded); break;
      }
    }
    float inverse[R];
    for (int r = 0; r < R; r++) inverse[r] = exponentiate(scores + r * padded, head.keys, scale);
    int64_t column = 0;
    for (; column + COLUMNS <= size; column += COLUMNS)
      mix<R, VECTORS>(head, row, column, scores, padded, inverse);
    for (; column < size; column += LANES) mix<R, 1>(head, row, column, scores, padded, inverse);
  });
}

}  // namespace isobatch
