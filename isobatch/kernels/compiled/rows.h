// Operations on one row of float32: layer norm and RMS norm, and its form as a factor of a product.
//
// A row is all that a function here sees, so its result cannot depend on neighbours. Multiplications
// and additions are kept apart (the build forbids contraction) and sums have a fixed order, so that
// isobatch/kernels/int8.py gives the same bits in plain torch.
#pragma once
#include <algorithm>

#include "lanes.h"

namespace isobatch {

// Sums of a row, side by side: part of the meaning, the same on every processor. Column i goes to
// lane i % 16 of sum i / 16 % 4.
constexpr int SUMS = 4;
constexpr int64_t SUM_COLUMNS = SUMS * LANES;

// Without a weight there is no norm. `bias` may be missing; with `rms` no mean is subtracted.
struct Norm {
  const float* weight = nullptr;
  const float* bias = nullptr;
  int64_t size = 0;
  double eps = 0;
  int64_t rms = 0;
};

// Calls f(first column, constant number of the sum, numbers) for every sixteen columns of a row.
template <class F>
INLINE void over_columns(int64_t size, F&& f) {
  int64_t i = 0;
  for (; i + SUM_COLUMNS <= size; i += SUM_COLUMNS)
    repeat<SUMS>([&](auto j) UNROLLED { f(i + LANES * j, j, LANES); });
  if (i == size) return;
  repeat<SUMS>([&](auto j) UNROLLED {
    const int64_t left = size - i - LANES * j;
    if (left > 0) f(i + LANES * j, j, std::min(left, LANES));
  });
}

// Sums 0 and 2, 1 and 3, the two, then halves of the lanes.
INLINE float sum_columns(const Floats (&sums)[SUMS]) {
  return sum((sums[0] + sums[2]) + (sums[1] + sums[3]));
}

ONCE void normalize(const Norm& norm, const float* x, float* y) {
  Floats sums[SUMS] = {}, squares[SUMS] = {};
  Floats mean = {};
  if (!norm.rms) {
    over_columns(norm.size, [&](int64_t i, auto j, int64_t count) UNROLLED {
      sums[j] = sums[j] + load(x + i, count);
    });
    mean = all(sum_columns(sums) / static_cast<float>(norm.size));
  }
  over_columns(norm.size, [&](int64_t i, auto j, int64_t count) UNROLLED {
    const Floats d = load(x + i, count) - mean;
    squares[j] = squares[j] + first_lanes(count, d * d, Floats{});
  });
  const float variance = sum_columns(squares) / static_cast<float>(norm.size);
  const Floats inverse =
      all(1.0f / __builtin_sqrtf(variance + static_cast<float>(norm.eps)));
  over_columns(norm.size, [&](int64_t i, auto, int64_t count) UNROLLED {
    const Floats d = (load(x + i, count) - mean) * inverse * load(norm.weight + i, count);
    store(y + i, norm.bias ? d + load(norm.bias + i, count) : d, count);
  });
}

// Turns each pair of numbers i and i + half of a head by the angles of its position.
ONCE void rotate(float* x, const float* cosine, const float* sine, int64_t half) {
  for (int64_t i = 0; i < half; i += LANES) {
    const int64_t count = half - i;
    const Floats low = load(x + i, count), high = load(x + half + i, count);
    const Floats c = load(cosine + i, count), s = load(sine + i, count);
    store(x + i, low * c - high * s, count);
    store(x + half + i, high * c + low * s, count);
  }
}

// The first `count` of sixteen integers, each as a T.
template <class T>
INLINE void store_narrow(T* to, Ints from, int64_t count) {
  typedef T Part __attribute__((vector_size(EACH * sizeof(T))));
  T narrow[LANES];
  repeat<PARTS>([&](auto i) UNROLLED {
    const Part part = __builtin_convertvector(from.part[i], Part);
    std::memcpy(narrow + i * EACH, &part, sizeof(part));
  });
  if (count >= LANES) std::memcpy(to, narrow, sizeof(narrow));
  else std::memcpy(to, narrow, count * sizeof(T));
}

// One row as integers of -127 to 127 with a scale of its own, each stored as a T after `zero` is
// added; NaN makes the scale NaN, as the bits of NaN are the largest integer.
template <class T>
ONCE void quantize(const float* x, T* quantized, float* scale, int64_t size, int32_t zero) {
  Ints largest[SUMS] = {};
  over_columns(size, [&](int64_t i, auto j, int64_t count) UNROLLED {
    largest[j] = larger(largest[j], bits(absolute(load(x + i, count))));
  });
  const Ints most =
      larger(larger(largest[0], largest[1]), larger(largest[2], largest[3]));
  int32_t pattern = 0;
  repeat<PARTS>([&](auto i) UNROLLED {
    for (int j = 0; j < EACH; j++) pattern = std::max(pattern, most.part[i][j]);
  });
  float amax;
  std::memcpy(&amax, &pattern, 4);
  amax = amax < 1e-30f ? 1e-30f : amax;
  *scale = amax / 127.0f;
  const Floats inverse = all(127.0f / amax);
  over_columns(size, [&](int64_t i, auto, int64_t count) UNROLLED {
    store_narrow(quantized + i, nearest(load(x + i, count) * inverse) + all(zero), count);
  });
}

}  // namespace isobatch
