// Products of queries with keys, and of both with the rows for their distances (DeBERTa).
//
// The products with rows are made of a group of queries, or of keys, with the rows of their own
// distances only, which lie side by side; each score then reads its number among them. Every product is
// summed over the size of a head from first to last by one accumulator, as in products.h.
#pragma once
#include <algorithm>

#include "products.h"

namespace isobatch {

// Of the rows for distances: their panels [rows / PANEL][size][PANEL], and the row of each distance,
// which never decreases. From -near to near each has the row after that of the one before.
struct DistanceRows {
  const float* panels = nullptr;
  const int32_t* row_of = nullptr;
  int64_t near = 0;
};

// Both products of a head with distances; either may be missing.
struct Distances {
  DistanceRows of_queries;  // by the distance key - query
  DistanceRows of_keys;     // by the distance query - key
  int64_t rows = 0;

  explicit operator bool() const { return of_queries.panels || of_keys.panels; }
};

constexpr int64_t DISTANCE_QUERIES = 128;  // whose products of keys are in memory at a time

INLINE int64_t padded_keys(int64_t keys) { return (keys + PANEL - 1) / PANEL * PANEL; }

// Numbers of `scratch` for products with distances: those of a group with rows, and those of keys turned.
INLINE int64_t distance_floats(const Distances& distances, int64_t queries, int64_t keys) {
  if (!distances) return 0;
  return LANES * (distances.rows + 2 * LANES) +
         std::min(queries, DISTANCE_QUERIES) * padded_keys(keys);
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

// Sixteen rows at a time that hold all of the distances [first, last].
struct Columns {
  int64_t first, last;

  INLINE Columns of(const DistanceRows& rows, int64_t first, int64_t last) {
    return {rows.row_of[first] / LANES, rows.row_of[last] / LANES + 1};
  }
};

// R rows of x by `columns` of the rows for distances, to `products`, whose rows are `width` apart.
template <int R>
ONCE void multiply_distances(const float* x, int64_t stride, const DistanceRows& rows, int64_t size,
                             Columns columns, float* products, int64_t width) {
  for (int64_t at = columns.first; at < columns.last;) {
    const int64_t within = at % VECTORS, count = std::min(VECTORS - within, columns.last - at);
    const float* panel = rows.panels + at / VECTORS * PANEL * size + within * LANES;
    with_vectors(count * LANES, [&](auto vectors) UNROLLED {
      score<R, vectors>(x, stride, panel, size, products + (at - columns.first) * LANES, width);
    });
    at += count;
  }
}

// The products of `count` distances from `first` on, of sixteen; `products` begins with row 0.
INLINE Floats read_distances(const DistanceRows& rows, const float* products, int64_t first,
                             int64_t count) {
  const int32_t* row = rows.row_of + first;
  count = std::min(count, LANES);
  if (-rows.near <= first && first + count - 1 <= rows.near) return load(products + row[0]);
  float read[LANES] = {};
  for (int64_t i = 0; i < count; i++) read[i] = products[row[i]];
  return load(read);
}

// Adds to the scores of R queries, the first of which is at `place`, their products with rows.
template <int R>
INLINE void add_of_queries(const DistanceRows& rows, const float* query, int64_t stride, int64_t size,
                           int64_t place, int64_t keys, float* products, float* scores,
                           int64_t padded) {
  const Columns columns = Columns::of(rows, 1 - R - place, keys - 1 - place);
  const int64_t width = (columns.last - columns.first) * LANES;
  multiply_distances<R>(query, stride, rows, size, columns, products, width);
  for (int64_t r = 0; r < R; r++)
    for (int64_t j = 0; j < keys; j += LANES) {
      const float* own = products + r * width - columns.first * LANES;
      float* score = scores + r * padded + j;
      store(score, load(score) + read_distances(rows, own, j - place - r, keys - j));
    }
}

// The products of all keys with the rows for their distances to `queries` queries, the first of which
// is at `place`, to `turned` [keys / PANEL][queries][PANEL].
ONCE void turn_of_keys(const DistanceRows& rows, const float* key, int64_t stride, int64_t size,
                       int64_t place, int64_t queries, int64_t keys, float* products,
                       float* turned) {
  for (int64_t j = 0; j < keys; j += LANES) {
    const int64_t count = std::min(LANES, keys - j), last = place + queries - 1;
    const Columns all = Columns::of(rows, place - j - count + 1, last - j);
    const int64_t width = (all.last - all.first + 1) * LANES;
    in_groups(count, [&](int64_t first, auto group) UNROLLED {
      constexpr int R = group;
      const int64_t at = j + first;
      const Columns own = Columns::of(rows, place - at - R + 1, last - at);
      multiply_distances<R>(key + at * stride, stride, rows, size, own,
                            products + first * width + (own.first - all.first) * LANES, width);
    });
    for (int64_t i = 0; i < queries; i += LANES) {
      float square[LANES * LANES];
      for (int64_t k = 0; k < count; k++) {
        const float* own = products + k * width - all.first * LANES;
        store(square + k * LANES, read_distances(rows, own, place + i - j - k, queries - i));
      }
      transpose_square(square, LANES, count, std::min(LANES, queries - i),
                       turned + (j / PANEL * queries + i) * PANEL + j % PANEL);
    }
  }
}

// Adds to the scores of one query what `turned` has of it.
INLINE void add_of_keys(const float* turned, int64_t query, int64_t queries, int64_t keys,
                        float* scores) {
  for (int64_t j = 0; j < keys; j += LANES) {
    const float* own = turned + (j / PANEL * queries + query) * PANEL + j % PANEL;
    store(scores + j, load(scores + j) + load(own));
  }
}

}  // namespace isobatch
