// Products of rows with weights, in int8, bf16 and fp32.
//
// Every number of a result is summed over the inner size from first to last by one accumulator, so
// its bits follow from its own row and column alone, independent of all other rows and columns.
#pragma once
#include <type_traits>
#include <utility>

#include "rows.h"

namespace isobatch {

constexpr int ROWS = 6;  // 6 x 4 vectors of sums fill 24 of 32 registers
constexpr int VECTORS = COLUMNS / LANES;

// x W^T + b. `weight` is cut into panels of 64 columns: [out/64][in/lanes][64][lanes], where `lanes`
// neighbours along the inner size share four bytes; or it is [out][in] float32 if not `packed`.
struct Product {
  const uint8_t* weight;
  const int32_t* offset;  // int8 only: the sum of 128 x weight, negated
  const float* scale;     // int8 only, one a column
  const float* bias;
  int64_t in;
  int64_t out;
  int64_t packed;
};

// Loops over constants: the compiler keeps an array in registers only if every index is one.
template <class F, int... I>
INLINE void repeat_(F&& f, std::integer_sequence<int, I...>) {
  (f(std::integral_constant<int, I>{}), ...);
}
template <int N, class F>
INLINE void repeat(F&& f) {
  repeat_(f, std::make_integer_sequence<int, N>{});
}
#define UNROLLED __attribute__((always_inline))

// A kind of arithmetic: how a row is stored, how four bytes of it meet a vector of weights, and what
// a finished sum becomes. A row's four bytes hold four, two or one neighbours of the inner size.
struct Int8 {
  using Sum = __m512i;
  static constexpr int64_t BYTES = 1;
  INLINE void store(const float* x, uint8_t* stored, float* scale, int64_t size) {
    quantize(x, stored, scale, size);
  }
  INLINE Sum begin(const Product& product, int64_t column) {
    return _mm512_loadu_si512(product.offset + column);
  }
  INLINE Sum load(const uint8_t* weight) { return _mm512_loadu_si512(weight); }
  INLINE Sum spread(const uint8_t* x) {
    int32_t four;
    std::memcpy(&four, x, 4);
    return _mm512_set1_epi32(four);
  }
  // In assembly: around the intrinsic, GCC 12 copies each sum to memory in every step, which halves
  // the speed (390 instead of 780 GOP/s on two cores).
  INLINE void step(Sum& sum, Sum x, Sum weight) {
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(weight));
  }
  INLINE __m512 finish(Sum sum, const Product& product, int64_t column, float scale) {
    const __m512 channel =
        _mm512_mul_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(product.scale + column));
    const __m512 token = _mm512_mul_ps(channel, _mm512_set1_ps(scale));
    return _mm512_add_ps(token, _mm512_loadu_ps(product.bias + column));
  }
};

struct Floating {
  using Sum = __m512;
  INLINE Sum begin(const Product& product, int64_t column) {
    return _mm512_loadu_ps(product.bias + column);
  }
  INLINE Sum load(const uint8_t* weight) { return _mm512_loadu_ps(weight); }
  INLINE Sum spread(const uint8_t* x) {
    float four;
    std::memcpy(&four, x, 4);
    return _mm512_set1_ps(four);
  }
  INLINE __m512 finish(Sum sum, const Product&, int64_t, float) { return sum; }
};

struct Bf16 : Floating {
  static constexpr int64_t BYTES = 2;
  INLINE void store(const float* x, uint8_t* stored, float*, int64_t size) {
    to_bf16(x, stored, size);
  }
  INLINE void step(Sum& sum, Sum x, Sum weight) {
    sum = _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(x), reinterpret_cast<__m512bh>(weight));
  }
};

struct Fp32 : Floating {
  static constexpr int64_t BYTES = 4;
  INLINE void store(const float* x, uint8_t* stored, float*, int64_t size) {
    std::memcpy(stored, x, 4 * size);
  }
  INLINE void step(Sum& sum, Sum x, Sum weight) { sum = _mm512_fmadd_ps(x, weight, sum); }
};

// The weights to prefetch into the cache meanwhile: two cache lines a step.
struct Ahead {
  const uint8_t* next = nullptr;
  int64_t step_bytes = 0;
};

// sums[r][v] += row r of x times vector v of the weights, over `steps` of four bytes.
template <class Kind, int R, int V>
INLINE void accumulate(typename Kind::Sum (&sums)[R][V], const uint8_t* x, int64_t row_bytes,
                       const uint8_t* weight, int64_t step_bytes, int64_t steps,
                       Ahead ahead = {}) {
  for (int64_t k = 0; k < steps; k++, x += 4, weight += step_bytes) {
    if (V == VECTORS) {
      _mm_prefetch(ahead.next, _MM_HINT_T1);
      _mm_prefetch(ahead.next + 64, _MM_HINT_T1);
      ahead.next += ahead.step_bytes;
    }
    typename Kind::Sum columns[V];
    repeat<V>([&](auto v) UNROLLED { columns[v] = Kind::load(weight + 64 * v); });
    repeat<R>([&](auto r) UNROLLED {
      const auto spread = Kind::spread(x + r * row_bytes);
      repeat<V>([&](auto v) UNROLLED { Kind::step(sums[r][v], spread, columns[v]); });
    });
  }
}

// Calls f(first row, constant number of rows): near-equal groups of at most ROWS.
template <class F>
INLINE void in_groups(int64_t rows, F&& f) {
  const int64_t groups = (rows + ROWS - 1) / ROWS;
  for (int64_t g = 0; g < groups; g++) {
    const int64_t first = rows * g / groups;
    switch (rows * (g + 1) / groups - first) {
      case 1: f(first, std::integral_constant<int, 1>{}); break;
      case 2: f(first, std::integral_constant<int, 2>{}); break;
      case 3: f(first, std::integral_constant<int, 3>{}); break;
      case 4: f(first, std::integral_constant<int, 4>{}); break;
      case 5: f(first, std::integral_constant<int, 5>{}); break;
      case 6: f(first, std::integral_constant<int, 6>{}); break;
    }
  }
}

// 64 columns of the product of `rows` stored rows; emit(row, column, vector) takes the results.
template <class Kind, class Emit>
__attribute__((noinline)) void multiply_panel(const Product& product, const uint8_t* panel,
                                              int64_t column, const uint8_t* x, const float* scale,
                                              int64_t rows, Emit emit) {
  const int64_t row_bytes = product.in * Kind::BYTES;
  const int64_t panel_bytes = product.in * COLUMNS * Kind::BYTES;
  in_groups(rows, [&](int64_t first, auto count) UNROLLED {
    constexpr int R = count;
    Ahead ahead{panel, 0};
    if (first < 2 * ROWS) ahead = {panel + panel_bytes + (first ? panel_bytes / 2 : 0), 128};
    typename Kind::Sum sums[R][VECTORS];
    repeat<VECTORS>([&](auto v) UNROLLED {
      const auto begin = Kind::begin(product, column + LANES * v);
      repeat<R>([&](auto r) UNROLLED { sums[r][v] = begin; });
    });
    accumulate<Kind>(sums, x + first * row_bytes, row_bytes, panel, 4 * COLUMNS, row_bytes / 4,
                     ahead);
    repeat<R>([&](auto r) UNROLLED {
      repeat<VECTORS>([&](auto v) UNROLLED {
        const int64_t at = column + LANES * v;
        emit(first + r, at, Kind::finish(sums[r][v], product, at, scale[first + r]));
      });
    });
  });
}

// 16 x 16 numbers of `x`, rows `stride` apart, are written as columns into a panel.
INLINE void transpose_square(const float* x, int64_t stride, int64_t rows, float* panel) {
  __m512 a[LANES], b[LANES];
  repeat<LANES>([&](auto i) UNROLLED {
    a[i] = i < rows ? _mm512_loadu_ps(x + i * stride) : _mm512_setzero_ps();
  });
  repeat<LANES / 2>([&](auto i) UNROLLED {
    b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
  });
  repeat<LANES / 2>([&](auto i) UNROLLED {
    constexpr int FROM = i / 2 * 4 + i % 2, TO = i / 2 * 4 + i % 2 * 2;
    const __m512d one = _mm512_castps_pd(b[FROM]), other = _mm512_castps_pd(b[FROM + 2]);
    a[TO] = _mm512_castpd_ps(_mm512_unpacklo_pd(one, other));
    a[TO + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(one, other));
  });
  repeat<4>([&](auto i) UNROLLED {
    const __m512 even0 = _mm512_shuffle_f32x4(a[i], a[i + 4], 0x88);
    const __m512 even1 = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0x88);
    const __m512 odd0 = _mm512_shuffle_f32x4(a[i], a[i + 4], 0xdd);
    const __m512 odd1 = _mm512_shuffle_f32x4(a[i + 8], a[i + 12], 0xdd);
    _mm512_storeu_ps(panel + i * COLUMNS, _mm512_shuffle_f32x4(even0, even1, 0x88));
    _mm512_storeu_ps(panel + (i + 4) * COLUMNS, _mm512_shuffle_f32x4(odd0, odd1, 0x88));
    _mm512_storeu_ps(panel + (i + 8) * COLUMNS, _mm512_shuffle_f32x4(even0, even1, 0xdd));
    _mm512_storeu_ps(panel + (i + 12) * COLUMNS, _mm512_shuffle_f32x4(odd0, odd1, 0xdd));
  });
}

// Up to 64 rows of `x`, each of `size` numbers, as a panel [size][64]; missing rows become zeros.
INLINE void transpose_panel(const float* x, int64_t stride, int64_t rows, int64_t size,
                            float* panel) {
  for (int64_t row = 0; row < COLUMNS; row += LANES)
    for (int64_t i = 0; i < size; i += LANES)
      transpose_square(x + row * stride + i, stride, rows - row, panel + i * COLUMNS + row);
}

}  // namespace isobatch
