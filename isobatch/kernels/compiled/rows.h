// Operations on one row of float32: activation, layer norm, and its form as a factor of a product.
//
// A row is all that a function here sees, so its result cannot depend on neighbours. Multiplications
// and additions are kept apart (the build forbids contraction) and sums have a fixed order, so that
// isobatch/kernels/int8.py gives the same bits in plain torch. Sizes are multiples of COLUMNS.
#pragma once
#include <immintrin.h>

#include <algorithm>
#include <cstdint>
#include <cstring>

#define INLINE static inline __attribute__((always_inline))

namespace isobatch {

constexpr int64_t LANES = 16;
constexpr int64_t COLUMNS = 64;

struct Norm {
  const float* weight;
  const float* bias;
  int64_t size;
  double eps;
};

// x Phi(x), Phi - 1/2 = c P(c^2) / Q(c^2) with c = x within +-5.5: the largest error over all x is
// 1.1e-6, which is that of torch's own gelu. The coefficients are a minimax fit (see int8.py).
INLINE __m512 gelu(__m512 x) {
  constexpr float P[] = {0.398942232131958f,      0.033852770924568176f,  0.004677268676459789f,
                         0.00016882698400877416f, 6.352131549647311e-06f, 2.2749340189420764e-08f};
  constexpr float Q[] = {1.0f,                   0.2515222132205963f,    0.028645943850278854f,
                         0.0018844521837309003f, 7.36479414626956e-05f, 1.197504161609686e-06f};
  const __m512 c =
      _mm512_min_ps(_mm512_max_ps(x, _mm512_set1_ps(-5.5f)), _mm512_set1_ps(5.5f));
  const __m512 square = _mm512_mul_ps(c, c);
  __m512 p = _mm512_set1_ps(P[5]), q = _mm512_set1_ps(Q[5]);
  for (int i = 4; i >= 0; i--) {
    p = _mm512_add_ps(_mm512_mul_ps(p, square), _mm512_set1_ps(P[i]));
    q = _mm512_add_ps(_mm512_mul_ps(q, square), _mm512_set1_ps(Q[i]));
  }
  const __m512 rest = _mm512_div_ps(_mm512_mul_ps(c, p), q);
  return _mm512_mul_ps(x, _mm512_add_ps(_mm512_set1_ps(0.5f), rest));
}

// Sum of 64 columns, kept as four vectors: vectors 0+2 and 1+3, their sum, then halves of lanes.
INLINE float sum_columns(const __m512 part[4]) {
  const __m512 all =
      _mm512_add_ps(_mm512_add_ps(part[0], part[2]), _mm512_add_ps(part[1], part[3]));
  const __m256 eight =
      _mm256_add_ps(_mm512_castps512_ps256(all), _mm512_extractf32x8_ps(all, 1));
  __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  four = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(four, _mm_shuffle_ps(four, four, 1)));
}

INLINE void normalize(const Norm& norm, const float* x, float* y) {
  const int64_t size = norm.size;
  __m512 sums[4] = {}, squares[4] = {};
  for (int64_t i = 0; i < size; i += COLUMNS)
    for (int j = 0; j < 4; j++)
      sums[j] = _mm512_add_ps(sums[j], _mm512_loadu_ps(x + i + LANES * j));
  const __m512 mean = _mm512_set1_ps(sum_columns(sums) / static_cast<float>(size));
  for (int64_t i = 0; i < size; i += COLUMNS)
    for (int j = 0; j < 4; j++) {
      const __m512 d = _mm512_sub_ps(_mm512_loadu_ps(x + i + LANES * j), mean);
      squares[j] = _mm512_add_ps(squares[j], _mm512_mul_ps(d, d));
    }
  const float variance = sum_columns(squares) / static_cast<float>(size);
  const __m128 deviation = _mm_sqrt_ss(_mm_set_ss(variance + static_cast<float>(norm.eps)));
  const __m512 inverse = _mm512_set1_ps(1.0f / _mm_cvtss_f32(deviation));
  for (int64_t i = 0; i < size; i += LANES) {
    const __m512 d = _mm512_mul_ps(_mm512_sub_ps(_mm512_loadu_ps(x + i), mean), inverse);
    const __m512 scaled = _mm512_mul_ps(d, _mm512_loadu_ps(norm.weight + i));
    _mm512_storeu_ps(y + i, _mm512_add_ps(scaled, _mm512_loadu_ps(norm.bias + i)));
  }
}

// One row as int8 with a scale of its own, stored as uint8 around 128, as vpdpbusd wants it.
INLINE void quantize(const float* x, uint8_t* quantized, float* scale, int64_t size) {
  __m512 largest[4] = {};
  for (int64_t i = 0; i < size; i += COLUMNS)
    for (int j = 0; j < 4; j++)
      largest[j] = _mm512_max_ps(largest[j], _mm512_abs_ps(_mm512_loadu_ps(x + i + LANES * j)));
  const __m512 all = _mm512_max_ps(_mm512_max_ps(largest[0], largest[1]),
                                   _mm512_max_ps(largest[2], largest[3]));
  const float amax = std::max(_mm512_reduce_max_ps(all), 1e-30f);
  *scale = amax / 127.0f;
  const __m512 inverse = _mm512_set1_ps(127.0f / amax);
  for (int64_t i = 0; i < size; i += LANES) {
    const __m512i rounded =
        _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x + i), inverse));
    const __m512i shifted = _mm512_add_epi32(rounded, _mm512_set1_epi32(128));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(quantized + i), _mm512_cvtepi32_epi8(shifted));
  }
}

INLINE void to_bf16(const float* x, uint8_t* narrow, int64_t size) {
  for (int64_t i = 0; i < size; i += LANES)
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(narrow + 2 * i),
                        reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_loadu_ps(x + i))));
}

}  // namespace isobatch
