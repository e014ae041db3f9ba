// Sixteen lanes on every processor: one register of AVX-512, two of AVX2, four of NEON or SSE.
//
// Everything but the fused multiply-add is written once, in GCC's and clang's vectors; each lane is
// rounded as IEEE 754 says, so the bits are the same everywhere. A struct of native vectors, not one
// vector of 64 bytes: of that GCC 12 makes 277 instructions with 240 stack references on AVX2 where
// these make 24 with none (the 6 x 16 loop of products.h).
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#if !defined(__GNUC__) || !(defined(__x86_64__) || defined(__aarch64__))
#error "written for GCC or clang on x86-64 or ARM64; elsewhere torch's own kernels are used"
#endif
#if defined(__FAST_MATH__)
#error "-ffast-math changes bits. Remove -Ofast and -ffast-math from CFLAGS"
#endif

#define INLINE static inline __attribute__((always_inline))
#define UNROLLED __attribute__((always_inline))
// Compiled once for all callers, so that the module is built in seconds.
#define ONCE __attribute__((noinline)) static

namespace isobatch {

// VECTORS: of sixteen columns, side by side in a panel of weights, and in the tile of sums that stays
// in registers: 6 x 4 of AVX-512's 32, 6 x 1 x 2 of AVX2's 16, 6 x 1 x 4 of NEON's 32.
#if defined(LANES_REFERENCE)
constexpr int REGISTER = 16, VECTORS = 1;
#elif defined(__AVX512F__)
constexpr int REGISTER = 64, VECTORS = 4;
#elif defined(__AVX2__) && defined(__FMA__)
constexpr int REGISTER = 32, VECTORS = 1;
#elif defined(__aarch64__)
constexpr int REGISTER = 16, VECTORS = 1;
#else
#error "no fused multiply-add among these instructions. Define LANES_REFERENCE"
#endif

constexpr int64_t LANES = 16;
constexpr int PARTS = 64 / REGISTER;
constexpr int64_t EACH = LANES / PARTS;

// Loops over constants: the compiler keeps an array in registers only if every index is one.
template <class F, int... I>
INLINE void repeat_(F&& f, std::integer_sequence<int, I...>) {
  (f(std::integral_constant<int, I>{}), ...);
}
template <int N, class F>
INLINE void repeat(F&& f) {
  repeat_(f, std::make_integer_sequence<int, N>{});
}

typedef float FloatPart __attribute__((vector_size(REGISTER)));
typedef int32_t IntPart __attribute__((vector_size(REGISTER)));
// In memory: a memcpy would take GCC through general registers on ARM.
typedef float FloatMemory __attribute__((vector_size(REGISTER), aligned(4), may_alias));
typedef int32_t IntMemory __attribute__((vector_size(REGISTER), aligned(1), may_alias));

struct Floats {
  FloatPart part[PARTS];
};
struct Ints {
  IntPart part[PARTS];
};

// f of each part of the operands.
template <class To, class F, class... From>
INLINE To each(F&& f, const From&... from) {
  To to;
  repeat<PARTS>([&](auto i) UNROLLED { to.part[i] = f(from.part[i]...); });
  return to;
}

INLINE Floats operator+(Floats a, Floats b) {
  return each<Floats>([](FloatPart x, FloatPart y) UNROLLED { return x + y; }, a, b);
}
INLINE Floats operator-(Floats a, Floats b) {
  return each<Floats>([](FloatPart x, FloatPart y) UNROLLED { return x - y; }, a, b);
}
INLINE Floats operator*(Floats a, Floats b) {
  return each<Floats>([](FloatPart x, FloatPart y) UNROLLED { return x * y; }, a, b);
}
INLINE Floats operator/(Floats a, Floats b) {
  return each<Floats>([](FloatPart x, FloatPart y) UNROLLED { return x / y; }, a, b);
}
INLINE Ints operator+(Ints a, Ints b) {
  return each<Ints>([](IntPart x, IntPart y) UNROLLED { return x + y; }, a, b);
}
INLINE Ints operator-(Ints a, Ints b) {
  return each<Ints>([](IntPart x, IntPart y) UNROLLED { return x - y; }, a, b);
}
INLINE Ints operator<<(Ints a, int count) {
  return each<Ints>([=](IntPart x) UNROLLED { return x << count; }, a);
}

INLINE Floats all(float value) {
  Floats to;
  repeat<PARTS>([&](auto i) UNROLLED { to.part[i] = value - FloatPart{}; });
  return to;
}
INLINE Ints all(int32_t value) {
  Ints to;
  repeat<PARTS>([&](auto i) UNROLLED { to.part[i] = value + IntPart{}; });
  return to;
}
INLINE Floats load(const float* x) {
  Floats to;
  repeat<PARTS>([&](auto i) UNROLLED {
    to.part[i] = *reinterpret_cast<const FloatMemory*>(x + i * EACH);
  });
  return to;
}
INLINE Ints load(const int32_t* x) {
  Ints to;
  repeat<PARTS>([&](auto i) UNROLLED {
    to.part[i] = *reinterpret_cast<const IntMemory*>(x + i * EACH);
  });
  return to;
}
INLINE void store(float* x, Floats from) {
  repeat<PARTS>([&](auto i) UNROLLED {
    *reinterpret_cast<FloatMemory*>(x + i * EACH) = from.part[i];
  });
}

ONCE void copy_numbers(const float* from, float* to, int64_t count) {
  for (int64_t i = 0; i < count; i++) to[i] = from[i];
}

// The first `count` of sixteen numbers, or all; the lanes that follow are zeros, or stay unwritten.
INLINE Floats load(const float* x, int64_t count) {
  if (count >= LANES) return load(x);
  float filled[LANES] = {};
  copy_numbers(x, filled, count);
  return load(filled);
}
INLINE void store(float* x, Floats from, int64_t count) {
  if (count >= LANES) return store(x, from);
  float filled[LANES];
  store(filled, from);
  copy_numbers(filled, x, count);
}

INLINE Ints bits(Floats a) {
  return each<Ints>([](FloatPart x) UNROLLED { return reinterpret_cast<IntPart>(x); }, a);
}
INLINE Floats floats_of_bits(Ints a) {
  return each<Floats>([](IntPart x) UNROLLED { return reinterpret_cast<FloatPart>(x); }, a);
}
INLINE Floats to_floats(Ints a) {
  return each<Floats>([](IntPart x) UNROLLED { return __builtin_convertvector(x, FloatPart); }, a);
}

INLINE Ints larger(Ints a, Ints b) {
  return each<Ints>([](IntPart x, IntPart y) UNROLLED { return x > y ? x : y; }, a, b);
}
INLINE Floats larger(Floats a, Floats b) {
  return each<Floats>([](FloatPart x, FloatPart y) UNROLLED { return x > y ? x : y; }, a, b);
}
// x within limits; NaN stays NaN, so that no operation hides one.
INLINE Floats at_least(Floats x, float limit) {
  return each<Floats>([=](FloatPart x) UNROLLED {
    const FloatPart low = limit - FloatPart{};
    return x < low ? low : x;
  }, x);
}
INLINE Floats at_most(Floats x, float limit) {
  return each<Floats>([=](FloatPart x) UNROLLED {
    const FloatPart high = limit - FloatPart{};
    return x > high ? high : x;
  }, x);
}
INLINE Floats absolute(Floats a) {
  return each<Floats>([](FloatPart x) UNROLLED {
    return reinterpret_cast<FloatPart>(reinterpret_cast<IntPart>(x) & 0x7fffffff);
  }, a);
}
// a where x is negative, else b.
INLINE Floats where_negative(Floats x, Floats a, Floats b) {
  return each<Floats>([](FloatPart x, FloatPart a, FloatPart b) UNROLLED {
    return x < FloatPart{} ? a : b;
  }, x, a, b);
}

// a where the lane's number is below `count`, else b.
INLINE Floats first_lanes(int64_t count, Floats a, Floats b) {
  static constexpr int32_t NUMBERS[LANES] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const Ints lanes = load(NUMBERS);
  const int32_t border = count < LANES ? static_cast<int32_t>(count) : static_cast<int32_t>(LANES);
  return each<Floats>([=](IntPart lane, FloatPart a, FloatPart b) UNROLLED {
    return lane < (border + IntPart{}) ? a : b;
  }, lanes, a, b);
}

// a b + c, rounded once: the one operation that GCC's vectors lack.
INLINE FloatPart fused(FloatPart a, FloatPart b, FloatPart c) {
#if defined(LANES_REFERENCE)
  FloatPart to;
  for (int i = 0; i < EACH; i++) to[i] = std::fma(a[i], b[i], c[i]);
  return to;
#elif defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
  return _mm256_fmadd_ps(a, b, c);
#else
  return vfmaq_f32(c, a, b);
#endif
}
INLINE Floats fused(Floats a, Floats b, Floats c) {
  return each<Floats>([](FloatPart x, FloatPart y, FloatPart z) UNROLLED { return fused(x, y, z); },
                      a, b, c);
}

// To the nearest integer, ties to even, of |x| < 2^22: an addition that leaves no bits behind the
// point.
constexpr float ROUNDING = 12582912.0f;  // 1.5 x 2^23
INLINE Ints nearest(Floats x) { return bits(x + all(ROUNDING)) - bits(all(ROUNDING)); }

// Halves of the lanes are added until one is left.
INLINE float sum(Floats a) {
  float x[LANES];
  store(x, a);
  repeat<4>([&](auto step) UNROLLED {
    constexpr int HALF = 8 >> step;
    for (int i = 0; i < HALF; i++) x[i] += x[i + HALF];
  });
  return x[0];
}
INLINE float largest(Floats a) {
  float x[LANES];
  store(x, a);
  for (int i = 1; i < LANES; i++) x[0] = x[i] > x[0] ? x[i] : x[0];
  return x[0];
}

}  // namespace isobatch
