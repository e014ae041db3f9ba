// Elementwise functions in float32: the exponential, and activations by their names.
//
// Multiplications, additions, fused multiply-adds and divisions only, in this order, so that every
// processor gives the same bits. Coefficients: docs/arithmetic.md.
#pragma once
#include "lanes.h"

namespace isobatch {

// The values of isobatch.kernels.compiled.ACTIVATIONS.
enum class Activation : int64_t {
  IDENTITY, GELU, GELU_TANH, RELU, RELU6, SILU, QUICK_GELU, MISH, TANH, SIGMOID
};

// e^x for x <= 0: 2^n e^r with |r| <= ln(2)/2 and the Taylor series of e^r up to r^7 / 7!. Below -87
// it is that of -87, so that no result is denormal.
INLINE Floats exponential(Floats x) {
  x = at_least(x, -87.0f);
  const Floats shifted = x * all(1.44269504f) + all(ROUNDING);
  const Floats n = shifted - all(ROUNDING);
  Floats r = fused(n, all(-0.693359375f), x);
  r = fused(n, all(2.12194440e-4f), r);
  constexpr float FACTORS[] = {1.0f / 720, 1.0f / 120, 1.0f / 24, 1.0f / 6, 0.5f, 1.0f, 1.0f};
  Floats power = all(1.0f / 5040);
  for (float factor : FACTORS) power = fused(power, r, all(factor));
  const Ints exponent = bits(shifted) - bits(all(ROUNDING)) + all(127);
  return power * floats_of_bits(exponent << 23);
}

// c P(c^2) / Q(c^2), P and Q of degree 5.
INLINE Floats odd_quotient(Floats c, const float (&P)[6], const float (&Q)[6]) {
  const Floats square = c * c;
  Floats p = all(P[5]), q = all(Q[5]);
  for (int i = 4; i >= 0; i--) {
    p = p * square + all(P[i]);
    q = q * square + all(Q[i]);
  }
  return c * p / q;
}

// x Phi(x), Phi - 1/2 = c P(c^2) / Q(c^2) with c = x within +-5.5: the largest error within +-10 is
// 1.1e-6 (torch's own: 3.7e-7). The coefficients are a minimax fit (see int8.py).
INLINE Floats gelu(Floats x) {
  constexpr float P[] = {0.398942232131958f,      0.033852770924568176f,  0.004677268676459789f,
                         0.00016882698400877416f, 6.352131549647311e-06f, 2.2749340189420764e-08f};
  constexpr float Q[] = {1.0f,                   0.2515222132205963f,    0.028645943850278854f,
                         0.0018844521837309003f, 7.36479414626956e-05f, 1.197504161609686e-06f};
  return x * (all(0.5f) + odd_quotient(at_most(at_least(x, -5.5f), 5.5f), P, Q));
}

// c P(c^2) / Q(c^2) with c = x within +-9: a minimax fit whose largest relative error is 3.6e-11.
INLINE Floats hyperbolic_tangent(Floats x) {
  constexpr float P[] = {0.99999999996458349f,   0.1409994135241598f,     0.0044269250189650746f,
                         4.2298959477288762e-5f, 1.1132163588401927e-7f, 3.6835906257385907e-11f};
  constexpr float Q[] = {1.0f,                    0.47433274646802669f,   0.029204507885586172f,
                         0.00050102212281211655f, 2.6062032986023086e-6f, 2.9565917856531379e-9f};
  return odd_quotient(at_most(at_least(x, -9.0f), 9.0f), P, Q);
}

INLINE Floats sigmoid(Floats x) {
  const Floats power = exponential(all(0.0f) - absolute(x));
  return where_negative(x, power, all(1.0f)) / (all(1.0f) + power);
}

// x tanh(ln(1 + e^x)), by e = e^-|x|.
INLINE Floats mish(Floats x) {
  const Floats e = exponential(all(0.0f) - absolute(x));
  const Floats twice = e + e, square = e * e;
  const Floats above = where_negative(x, square + twice, all(1.0f) + twice);
  const Floats rest = where_negative(x, all(2.0f), square + square);
  return x * (above / (above + rest));
}

// y [rows, columns], rows `stride` apart, becomes f(y).
template <class F>
INLINE void map_columns(float* y, int64_t stride, int64_t rows, int64_t columns, F&& f) {
  for (int64_t r = 0; r < rows; r++, y += stride)
    for (int64_t i = 0; i < columns; i += LANES)
      store(y + i, f(load(y + i, columns - i)), columns - i);
}

// y += x, both [rows, columns] with rows `stride` apart.
ONCE void add(float* y, const float* x, int64_t stride, int64_t rows, int64_t columns) {
  for (int64_t r = 0; r < rows; r++, x += stride, y += stride)
    for (int64_t i = 0; i < columns; i += LANES)
      store(y + i, load(y + i, columns - i) + load(x + i, columns - i), columns - i);
}

// y *= x, both [columns].
ONCE void multiply_by(float* y, const float* x, int64_t columns) {
  for (int64_t i = 0; i < columns; i += LANES)
    store(y + i, load(y + i, columns - i) * load(x + i, columns - i), columns - i);
}

ONCE void activate(Activation activation, float* y, int64_t stride, int64_t rows, int64_t columns) {
  const auto map = [=](auto f) UNROLLED { map_columns(y, stride, rows, columns, f); };
  switch (activation) {
    case Activation::IDENTITY: return;
    case Activation::GELU: return map([](Floats x) UNROLLED { return gelu(x); });
    case Activation::GELU_TANH: return map([](Floats x) UNROLLED {
      return x * sigmoid(all(1.5957691216057308f) * (x + all(0.044715f) * (x * x * x)));
    });
    case Activation::RELU:
      return map([](Floats x) UNROLLED { return at_least(x, 0.0f) + all(0.0f); });
    case Activation::RELU6:
      return map([](Floats x) UNROLLED { return at_most(at_least(x, 0.0f) + all(0.0f), 6.0f); });
    case Activation::SILU: return map([](Floats x) UNROLLED { return x * sigmoid(x); });
    case Activation::QUICK_GELU:
      return map([](Floats x) UNROLLED { return x * sigmoid(all(1.702f) * x); });
    case Activation::MISH: return map([](Floats x) UNROLLED { return mish(x); });
    case Activation::TANH: return map([](Floats x) UNROLLED { return hyperbolic_tangent(x); });
    case Activation::SIGMOID: return map([](Floats x) UNROLLED { return sigmoid(x); });
  }
}

}  // namespace isobatch
