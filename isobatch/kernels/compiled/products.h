// Products of rows with weights, in fp32, int8 and bf16.
//
// Every number of a result is summed over the inner size from first to last by one accumulator, so
// its bits follow from its own row and column alone, independent of all other rows and columns, and
// of how many of them are computed side by side.
#pragma once
#include <algorithm>

#include "rows.h"

namespace isobatch {

constexpr int64_t COLUMNS = 64;  // of a task: weights are filled with zeros up to a multiple
constexpr int ROWS = 6;
constexpr int64_t PANEL = LANES * VECTORS;  // columns that lie side by side in memory
constexpr int PANELS = COLUMNS / PANEL;     // of a task

// x W^T + b. `weight` is [out/64][64/PANEL][in/neighbours][PANEL][neighbours], where `neighbours`
// weights of adjacent inner columns meet one step of a row; or [out][in] float32 if not `packed`.
// offset, scale and bias are filled with zeros up to a multiple of 64.
struct Product {
  const uint8_t* weight;
  const int32_t* offset;  // int8 only: the sum of ZERO x weight, negated
  const float* scale;     // int8 only, one a column
  const float* bias;
  int64_t in;
  int64_t out;
  int64_t packed;
};

// A kind of arithmetic: how a row is stored, how a step of four bytes of it meets a vector of weights,
// and what a finished sum becomes.
struct Fp32 {
  using Sum = Floats;
  using Spread = FloatPart;
  static constexpr int64_t BYTES = 4, NEIGHBOURS = 1, FILL = 1;  // of a number; a step; of a row
  static constexpr int64_t WEIGHT_BYTES = 4;
  INLINE void store_row(const float* x, uint8_t* stored, float*, int64_t size) {
    std::memcpy(stored, x, 4 * size);
  }
  INLINE Sum begin(const Product& product, int64_t column) { return load(product.bias + column); }
  INLINE Sum weights(const uint8_t* weight) {
    return load(reinterpret_cast<const float*>(weight));
  }
  INLINE Spread spread(const uint8_t* x) {
    float one;
    std::memcpy(&one, x, 4);
    return one - FloatPart{};
  }
  INLINE void step(Sum& sum, Spread x, Sum weight) {
    repeat<PARTS>([&](auto i) UNROLLED { sum.part[i] = fused(x, weight.part[i], sum.part[i]); });
  }
  INLINE Floats finish(Sum sum, const Product&, int64_t, float) { return sum; }
};

// The sums are exact, so that how they come about leaves no trace.
struct Int8 {
  using Sum = Ints;
  using Spread = IntPart;
  static constexpr int64_t FILL = 4, WEIGHT_BYTES = 1;
#if defined(LANES_REFERENCE) || defined(__aarch64__)
  using Number = int8_t;
  static constexpr int64_t BYTES = 1, NEIGHBOURS = 4;
  static constexpr int32_t ZERO = 0;
#elif defined(__AVX512VNNI__) || defined(__AVXVNNI__)
  using Number = uint8_t;  // around 128: vpdpbusd multiplies unsigned by signed
  static constexpr int64_t BYTES = 1, NEIGHBOURS = 4;
  static constexpr int32_t ZERO = 128;
#else
  // Pairs of 16 bits: products of bytes would saturate (vpmaddubsw), and weights widen while loaded.
  using Number = int16_t;
  static constexpr int64_t BYTES = 2, NEIGHBOURS = 2;
  static constexpr int32_t ZERO = 0;
#endif
  INLINE void store_row(const float* x, uint8_t* stored, float* scale, int64_t size) {
    Number* numbers = reinterpret_cast<Number*>(stored);
    quantize(x, numbers, scale, size, ZERO);
    for (int64_t i = size; i % FILL; i++) numbers[i] = ZERO;
  }
  INLINE Sum begin(const Product& product, int64_t column) {
    return ZERO ? load(product.offset + column) : Ints{};
  }
  INLINE Sum weights(const uint8_t* weight) {
#if defined(LANES_REFERENCE) || defined(__aarch64__) || defined(__AVX512VNNI__) || \
    defined(__AVXVNNI__)
    return load(reinterpret_cast<const int32_t*>(weight));
#else
    Sum to;
    repeat<PARTS>([&](auto i) UNROLLED {
      const uint8_t* part = weight + 2 * EACH * i;
#if defined(__AVX512F__)
      to.part[i] = reinterpret_cast<IntPart>(
          _mm512_cvtepi8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(part))));
#else
      to.part[i] = reinterpret_cast<IntPart>(
          _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(part))));
#endif
    });
    return to;
#endif
  }
  INLINE Spread spread(const uint8_t* x) {
    int32_t four;
    std::memcpy(&four, x, 4);
    return four + IntPart{};
  }
  INLINE IntPart step(IntPart sum, IntPart x, IntPart weight) {
#if defined(LANES_REFERENCE)
    for (int i = 0; i < EACH; i++)
      for (int j = 0; j < 4; j++)
        sum[i] += static_cast<int8_t>(x[i] >> 8 * j) * static_cast<int8_t>(weight[i] >> 8 * j);
    return sum;
#elif defined(__AVX512VNNI__)
    // In assembly: around the intrinsic, GCC 12 copies each sum to memory in every step, which halves
    // the speed (390 instead of 780 GOP/s on two cores).
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(x), "v"(weight));
    return sum;
#elif defined(__AVXVNNI__)
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(x), "x"(weight));
    return sum;
#elif defined(__AVX512F__)
    return sum + reinterpret_cast<IntPart>(_mm512_madd_epi16(reinterpret_cast<__m512i>(x),
                                                             reinterpret_cast<__m512i>(weight)));
#elif defined(__AVX2__)
    return sum + reinterpret_cast<IntPart>(_mm256_madd_epi16(reinterpret_cast<__m256i>(x),
                                                             reinterpret_cast<__m256i>(weight)));
#else
    const int8x16_t a = reinterpret_cast<int8x16_t>(x), b = reinterpret_cast<int8x16_t>(weight);
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(sum, b, a);
#else
    const int16x8_t low = vmull_s8(vget_low_s8(a), vget_low_s8(b));
    const int16x8_t high = vmull_high_s8(a, b);
    return sum + vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
#endif
#endif
  }
  INLINE void step(Sum& sum, Spread x, Sum weight) {
    repeat<PARTS>([&](auto i) UNROLLED { sum.part[i] = step(sum.part[i], x, weight.part[i]); });
  }
  INLINE Floats finish(Sum sum, const Product& product, int64_t column, float scale) {
    const Floats channel = to_floats(sum) * load(product.scale + column);
    return channel * all(scale) + load(product.bias + column);
  }
};

#if defined(__AVX512BF16__) && !defined(LANES_REFERENCE)
// The one kind whose bits are its instruction's: vdpbf16ps flushes denormals, and adds the products of
// a pair one after the other.
struct Bf16 : Fp32 {
  static constexpr int64_t BYTES = 2, NEIGHBOURS = 2, FILL = 2, WEIGHT_BYTES = 2;
  INLINE void store_row(const float* x, uint8_t* stored, float*, int64_t size) {
    int64_t i = 0;
    for (; i < size; i += LANES) {
      const __m512 numbers = load(x + i, size - i).part[0];
      const __m256i narrow = reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(numbers));
      const int64_t count = std::min(LANES, (size - i + 1) / 2 * 2);
      std::memcpy(stored + 2 * i, &narrow, 2 * count);
    }
  }
  INLINE void step(Sum& sum, Spread x, Sum weight) {
    sum.part[0] = _mm512_dpbf16_ps(sum.part[0], reinterpret_cast<__m512bh>(x),
                                   reinterpret_cast<__m512bh>(weight.part[0]));
  }
};
#endif

// Bytes of a stored row of `size` numbers, and of the weights of one panel.
template <class Kind>
INLINE int64_t filled(int64_t size) {
  return (size + Kind::FILL - 1) / Kind::FILL * Kind::FILL;
}
template <class Kind>
INLINE int64_t row_bytes(int64_t size) {
  return filled<Kind>(size) * Kind::BYTES;
}
template <class Kind>
INLINE int64_t panel_bytes(int64_t in) {
  return filled<Kind>(in) * PANEL * Kind::WEIGHT_BYTES;
}

// Weights that are prefetched into the cache meanwhile, some lines a step; the default stays where it
// is, as a branch in the loop would cost more.
struct Ahead {
  const uint8_t* next;
  int64_t step_bytes = 0;
};
constexpr int AHEAD_LINES = VECTORS > 1 ? 2 : 1;

// sums[r][v] += row r of x times vector v of the weights, over `steps` of a row.
template <class Kind, int R, int V>
INLINE void accumulate(typename Kind::Sum (&sums)[R][V], const uint8_t* x, int64_t x_bytes,
                       const uint8_t* weight, int64_t step_bytes, int64_t vector_bytes,
                       int64_t steps, Ahead ahead) {
  constexpr int64_t X_STEP = Kind::BYTES * Kind::NEIGHBOURS;
  for (int64_t k = 0; k < steps; k++, x += X_STEP, weight += step_bytes) {
    if (V == VECTORS) {
      repeat<AHEAD_LINES>([&](auto i) UNROLLED { __builtin_prefetch(ahead.next + 64 * i, 0, 2); });
      ahead.next += ahead.step_bytes;
    }
    typename Kind::Sum columns[V];
    repeat<V>([&](auto v) UNROLLED { columns[v] = Kind::weights(weight + v * vector_bytes); });
    repeat<R>([&](auto r) UNROLLED {
      const auto spread = Kind::spread(x + r * x_bytes);
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

// V vectors of the product of R rows, from `column` and `row` on, to y [rows, out].
template <class Kind, int R, int V>
INLINE void multiply_tile(const Product& product, const uint8_t* weight, int64_t column,
                          const uint8_t* x, const float* scale, int64_t row, Ahead ahead,
                          float* y) {
  constexpr int64_t STEP_BYTES = PANEL * Kind::WEIGHT_BYTES * Kind::NEIGHBOURS;
  const int64_t x_bytes = row_bytes<Kind>(product.in);
  const int64_t vector_bytes = VECTORS > 1 ? STEP_BYTES / VECTORS : panel_bytes<Kind>(product.in);
  typename Kind::Sum sums[R][V];
  repeat<V>([&](auto v) UNROLLED {
    const auto begin = Kind::begin(product, column + LANES * v);
    repeat<R>([&](auto r) UNROLLED { sums[r][v] = begin; });
  });
  accumulate<Kind>(sums, x + row * x_bytes, x_bytes, weight, STEP_BYTES, vector_bytes,
                   filled<Kind>(product.in) / Kind::NEIGHBOURS, ahead);
  repeat<R>([&](auto r) UNROLLED {
    repeat<V>([&](auto v) UNROLLED {
      const int64_t at = column + LANES * v;
      const Floats result = Kind::finish(sums[r][v], product, at, scale[row + r]);
      store(y + (row + r) * product.out + at, result, product.out - at);
    });
  });
}

// What the rows from `first` on prefetch of the next panel: with AVX-512 the first two groups half of
// it each, otherwise each group its share.
INLINE Ahead ahead_of(const uint8_t* weight, int64_t bytes, int64_t steps, int64_t first,
                      int64_t rows) {
  const uint8_t* next = weight + bytes;
  if (VECTORS > 1) {
    if (first >= 2 * ROWS) return {weight};
    return {next + (first ? bytes / 2 : 0), 64 * AHEAD_LINES};
  }
  const int64_t step = bytes * ROWS / (std::max<int64_t>(rows, ROWS) * steps);
  return {next + first * step * steps / ROWS, step};
}

// 64 columns of the product of `rows` stored rows.
template <class Kind>
ONCE void multiply_columns(const Product& product, const uint8_t* weight, int64_t column,
                           const uint8_t* x, const float* scale, int64_t rows, float* y) {
  const int64_t bytes = panel_bytes<Kind>(product.in);
  const int64_t steps = filled<Kind>(product.in) / Kind::NEIGHBOURS;
  // Few rows by one vector each are too few sums to hide the latency of an addition.
  if constexpr (VECTORS == 1) {
    const Ahead none{weight};
    if (rows == 1) return multiply_tile<Kind, 1, 4>(product, weight, column, x, scale, 0, none, y);
    if (rows == 2 || rows == 3) {
      for (int half = 0; half < 2; half++) {
        const uint8_t* panels = weight + 2 * half * bytes;
        const int64_t at = column + 2 * half * LANES;
        if (rows == 2) multiply_tile<Kind, 2, 2>(product, panels, at, x, scale, 0, none, y);
        else multiply_tile<Kind, 3, 2>(product, panels, at, x, scale, 0, none, y);
      }
      return;
    }
  }
  for (int panel = 0; panel < PANELS && column < product.out; panel++) {
    in_groups(rows, [&](int64_t first, auto count) UNROLLED {
      const Ahead ahead = ahead_of(weight, bytes, steps, first, rows);
      multiply_tile<Kind, count, VECTORS>(product, weight, column, x, scale, first, ahead, y);
    });
    weight += bytes;
    column += PANEL;
  }
}

// Column J of the result is column J of a, or J - S of b; of the other, J + S of a, or J of b.
template <int S, int... J>
INLINE void exchange(FloatPart& a, FloatPart& b, std::integer_sequence<int, J...>) {
  constexpr int N = sizeof...(J);
#if defined(__clang__)
  const FloatPart one = __builtin_shufflevector(a, b, (J & S ? N + J - S : J)...);
  b = __builtin_shufflevector(a, b, (J & S ? N + J : J + S)...);
#else
  const FloatPart one = __builtin_shuffle(a, b, IntPart{(J & S ? N + J - S : J)...});
  b = __builtin_shuffle(a, b, IntPart{(J & S ? N + J : J + S)...});
#endif
  a = one;
}

// Transposes a square of a register's lanes by exchanging ever larger squares in it (Eklundh).
template <int S = 1, int N>
INLINE void transpose_lanes(FloatPart (&rows)[N]) {
  if constexpr (S < N) {
    repeat<N>([&](auto i) UNROLLED {
      if constexpr (!(i & S)) exchange<S>(rows[i], rows[i + S], std::make_integer_sequence<int, N>{});
    });
    transpose_lanes<2 * S>(rows);
  }
}

// 16 x 16 numbers of `x`, rows `stride` apart, are written as columns into a panel: `rows` and
// `columns` of them, zeros for missing rows.
INLINE void transpose_square(const float* x, int64_t stride, int64_t rows, int64_t columns,
                             float* panel) {
  constexpr int N = EACH;
  for (int64_t top = 0; top < LANES; top += N) {
    Floats read[N];
    repeat<N>([&](auto i) UNROLLED {
      read[i] = top + i < rows ? load(x + (top + i) * stride, columns) : Floats{};
    });
    repeat<PARTS>([&](auto part) UNROLLED {
      FloatPart square[N];
      repeat<N>([&](auto i) UNROLLED { square[i] = read[i].part[part]; });
      transpose_lanes(square);
      repeat<N>([&](auto i) UNROLLED {
        const int64_t column = part * N + i;
        if (column < columns)
          *reinterpret_cast<FloatMemory*>(panel + column * PANEL + top) = square[i];
      });
    });
  }
}

// Up to PANEL rows of `x`, each of `size` numbers, as a panel [size][PANEL]; missing rows become
// zeros.
ONCE void transpose_panel(const float* x, int64_t stride, int64_t rows, int64_t size,
                            float* panel) {
  for (int64_t row = 0; row < PANEL; row += LANES)
    for (int64_t i = 0; i < size; i += LANES)
      transpose_square(x + row * stride + i, stride, rows - row, size - i,
                       panel + i * PANEL + row);
}

}  // namespace isobatch
