// softmax(scale (q k^T + distances) + positions) v of one head of one sequence, in float32.
//
// It sees one sequence and nothing else; every sum runs over keys or sizes from first to last, or in
// an order that follows from the number of keys alone. A key that a query does not read has the weight
// zero, and its products are left out: they would add zeros.
#pragma once
#include <algorithm>

#include "functions.h"
#include "scores.h"

namespace isobatch {

// The keys [first, last) that a query reads.
struct Span {
  int64_t first, last;
};

// scores of the span become e^(scale (score - max)), what follows it up to a vector zero; returns the
// inverse of their sum. Key j belongs to lane j % 16 of sum j / 16 % 4.
ONCE float exponentiate(float* scores, Span span, float scale) {
  const int64_t begin = span.first / SUM_COLUMNS * SUM_COLUMNS, keys = span.last;
  Floats most = all(-INFINITY);
  for (int64_t j = begin; j < keys; j += LANES) {
    Floats read = first_lanes(keys - j, load(scores + j), all(-INFINITY));
    if (j < span.first) read = first_lanes(span.first - j, all(-INFINITY), read);
    most = larger(most, read);
  }
  const Floats top = all(largest(most));
  Floats sums[SUMS] = {};
  for (int64_t j = begin; j < keys; j += SUM_COLUMNS)
    repeat<SUMS>([&](auto i) UNROLLED {
      const int64_t at = j + LANES * i;
      if (at >= keys) return;
      const Floats below = load(scores + at) - top;
      Floats power = first_lanes(keys - at, exponential(below * all(scale)), Floats{});
      if (at < span.first) power = first_lanes(span.first - at, Floats{}, power);
      store(scores + at, power);
      sums[i] = sums[i] + power;
    });
  return 1.0f / sum_columns(sums);
}

// Which keys a query reads: those within `window` on each side, none if it is negative; of these,
// with `causal`, no later ones.
struct Reach {
  int64_t window = -1;
  int64_t causal = 0;

  INLINE Span span(const Reach& reach, int64_t first_query, int64_t last_query, int64_t keys) {
    const bool narrow = reach.window >= 0;
    const int64_t after = reach.causal ? 0 : narrow ? reach.window : keys;
    return {narrow ? std::max<int64_t>(0, first_query - reach.window) : 0,
            std::min(keys, last_query + after + 1)};
  }
};

struct Head {
  const float* query;  // [queries], rows `query_stride` apart, as are those of mixed
  const float* key;    // rows `key_stride` apart, as are those of value
  const float* value;  // sixteen numbers can be read at every column
  float* mixed;
  int64_t queries;
  int64_t keys;
  int64_t query_stride;
  int64_t key_stride;
  int64_t size;
  int64_t first_query = 0;  // the place of the first query among the keys
  Reach reach = {};
  float scale = 0;                   // of the products; 0 for 1 / sqrt(size)
  const float* positions = nullptr;  // added for key - query, which is negative before it
  Distances distances = {};
};

INLINE int64_t attention_floats(const Head& head) {
  return padded_keys(head.keys) * (head.size + ROWS) +
         distance_floats(head.distances, head.queries, head.keys);
}

template <int R, int V>
INLINE void mix(const Head& head, int64_t row, int64_t column, const float* scores, int64_t padded,
                Span span, const float* inverse) {
  Floats sums[R][V] = {};
  const float* value = head.value + span.first * head.key_stride + column;
  const uint8_t* weight = reinterpret_cast<const uint8_t*>(value);
  accumulate<Fp32>(sums, reinterpret_cast<const uint8_t*>(scores + span.first), 4 * padded, weight,
                   4 * head.key_stride, 4 * LANES, span.last - span.first, Ahead{weight});
  repeat<R>([&](auto r) UNROLLED {
    repeat<V>([&](auto v) UNROLLED {
      const int64_t at = column + LANES * v;
      store(head.mixed + (row + r) * head.query_stride + at, sums[r][v] * all(inverse[r]),
            head.size - at);
    });
  });
}

// Turns the scores of a query's span into weights, with zeros in what else `whole` has of them;
// returns the inverse of their sum.
INLINE float weigh(const Head& head, int64_t query, float* scores, Span whole, float scale) {
  const Span span = Reach::span(head.reach, query, query, head.keys);
  if (head.positions) {
    const float* positions = head.positions - query;
    for (int64_t j = span.first; j < span.last; j += LANES) {
      const int64_t count = span.last - j;
      const Floats score = load(scores + j, count) * all(scale);
      store(scores + j, score + load(positions + j, count), count);
    }
  }
  const float inverse = exponentiate(scores, span, head.positions ? 1.0f : scale);
  std::fill(scores + whole.first, scores + span.first, 0.0f);
  std::fill(scores + span.last, scores + whole.last, 0.0f);
  return inverse;
}

// `scratch` holds attention_floats(head) numbers.
ONCE void attend(const Head& head, float* scratch) {
  const int64_t padded = padded_keys(head.keys), size = head.size;
  const Distances& distances = head.distances;
  float *panels = scratch, *scores = scratch + padded * size;
  float *products = scores + padded * ROWS, *turned = products + LANES * (distances.rows + 2 * LANES);
  const auto span_of = [&](int64_t row, int64_t count) UNROLLED {
    const int64_t query = head.first_query + row;
    return Reach::span(head.reach, query, query + count - 1, head.keys);
  };
  const Span read = span_of(0, head.queries);
  for (int64_t j = read.first / PANEL * PANEL; j < read.last; j += PANEL)
    transpose_panel(head.key + j * head.key_stride, head.key_stride, head.keys - j, size,
                    panels + j * size);
  const float root = __builtin_sqrtf(static_cast<float>(size));
  const float scale = head.scale == 0 ? 1.0f / root : head.scale;
  const int64_t most = distances.of_keys.panels ? DISTANCE_QUERIES : head.queries;
  for (int64_t first = 0; first < head.queries; first += most) {
    const int64_t queries = std::min(most, head.queries - first);
    if (distances.of_keys.panels)
      turn_of_keys(distances.of_keys, head.key, head.key_stride, size, head.first_query + first,
                   queries, head.keys, products, turned);
    in_groups(queries, [&](int64_t within, auto count) UNROLLED {
      constexpr int R = count;
      const int64_t row = first + within, place = head.first_query + row;
      const float* query = head.query + row * head.query_stride;
      const Span span = span_of(row, R);
      for (int64_t j = span.first / PANEL * PANEL; j < span.last; j += PANEL)
        with_vectors(head.keys - j, [&](auto vectors) UNROLLED {
          score<R, vectors>(query, head.query_stride, panels + j * size, size, scores + j, padded);
        });
      if (distances.of_queries.panels)
        add_of_queries<R>(distances.of_queries, query, head.query_stride, size, place, head.keys,
                          products, scores, padded);
      float inverse[R];
      for (int r = 0; r < R; r++) {
        float* own = scores + r * padded;
        if (distances.of_keys.panels) add_of_keys(turned, within + r, queries, head.keys, own);
        inverse[r] = weigh(head, place + r, own, span, scale);
      }
      int64_t column = 0;
      for (; column + PANEL <= size; column += PANEL)
        mix<R, VECTORS>(head, row, column, scores, padded, span, inverse);
      for (; column < size; column += LANES)
        mix<R, 1>(head, row, column, scores, padded, span, inverse);
    });
  }
}

}  // namespace isobatch
