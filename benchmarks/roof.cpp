// The peak rate of the multiply-add instructions that the kernels use, for the instruction set that
// this file is compiled for. `roof THREADS SECONDS` prints a line for each precision: its name, the
// instructions, and 10^9 operations a second (a multiplication and an addition are two).
//
// Each sum is a chain of its own in a register without loads, so only the arithmetic units and the
// front end limit it. Each thread takes the best of its windows: a peak is what the machine
// can do, not what it does while something else runs.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#else
#error "no vector instructions known for this processor"
#endif

#define INLINE inline __attribute__((always_inline))

// The compiler must assume that x changed: a product of constants is then computed each time.
#if defined(__AVX512F__)
#define OPAQUE(x) asm volatile("" : "+v"(x))
#elif defined(__x86_64__)
#define OPAQUE(x) asm volatile("" : "+x"(x))
#else
#define OPAQUE(x) asm volatile("" : "+w"(x))
#endif

// Independent sums: more than latency x throughput, and within the registers.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int CHAINS = 24;
#else
constexpr int CHAINS = 12;
#endif

#if defined(__AVX512F__)

struct Fp32 {
  static constexpr const char* NAME = "fp32 vfmadd231ps/zmm";
  static constexpr double OPERATIONS = 2 * 16;
  using Sum = __m512;
  using Factor = __m512;
  static Factor factor() { return _mm512_set1_ps(0.5f); }
  static INLINE Sum step(Sum sum, Factor a, Factor b) { return _mm512_fmadd_ps(a, b, sum); }
};

struct Int8 {
  using Sum = __m512i;
  using Factor = __m512i;
  static Factor factor() { return _mm512_set1_epi8(1); }
#if defined(__AVX512VNNI__)
  static constexpr const char* NAME = "int8 vpdpbusd/zmm";
  static constexpr double OPERATIONS = 2 * 64;
  static INLINE Sum step(Sum sum, Factor a, Factor b) { return _mm512_dpbusd_epi32(sum, a, b); }
#else
  static constexpr const char* NAME = "int8 vpmaddwd+vpaddd/zmm";
  static constexpr double OPERATIONS = 2 * 32;
  static INLINE Sum step(Sum sum, Factor a, Factor b) {
    return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
  }
#endif
};

#if defined(__AVX512BF16__)
struct Bf16 {
  static constexpr const char* NAME = "bf16 vdpbf16ps/zmm";
  static constexpr double OPERATIONS = 2 * 32;
  using Sum = __m512;
  using Factor = __m512bh;
  static Factor factor() { return reinterpret_cast<Factor>(_mm512_set1_epi16(0x3f00)); }
  static INLINE Sum step(Sum sum, Factor a, Factor b) { return _mm512_dpbf16_ps(sum, a, b); }
};
#endif

#elif defined(__AVX2__)

struct Fp32 {
  static constexpr const char* NAME = "fp32 vfmadd231ps/ymm";
  static constexpr double OPERATIONS = 2 * 8;
  using Sum = __m256;
  using Factor = __m256;
  static Factor factor() { return _mm256_set1_ps(0.5f); }
  static INLINE Sum step(Sum sum, Factor a, Factor b) { return _mm256_fmadd_ps(a, b, sum); }
};

struct Int8 {
  using Sum = __m256i;
  using Factor = __m256i;
  static Factor factor() { return _mm256_set1_epi8(1); }
#if defined(__AVXVNNI__)
  static constexpr const char* NAME = "int8 vpdpbusd/ymm";
  static constexpr double OPERATIONS = 2 * 32;
  static INLINE Sum step(Sum sum, Factor a, Factor b) { return _mm256_dpbusd_avx_epi32(sum, a, b); }
#else
  static constexpr const char* NAME = "int8 vpmaddwd+vpaddd/ymm";
  static constexpr double OPERATIONS = 2 * 16;
  static INLINE Sum step(Sum sum, Factor a, Factor b) {
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
  }
#endif
};

#elif defined(__aarch64__)

struct Fp32 {
  static constexpr const char* NAME = "fp32 fmla/q";
  static constexpr double OPERATIONS = 2 * 4;
  using Sum = float32x4_t;
  using Factor = float32x4_t;
  static Factor factor() { return vdupq_n_f32(0.5f); }
  static INLINE Sum step(Sum sum, Factor a, Factor b) { return vfmaq_f32(sum, a, b); }
};

struct Int8 {
  static constexpr double OPERATIONS = 2 * 16;
  using Sum = int32x4_t;
  using Factor = int8x16_t;
  static Factor factor() { return vdupq_n_s8(1); }
#if defined(__ARM_FEATURE_DOTPROD)
  static constexpr const char* NAME = "int8 sdot/q";
  static INLINE Sum step(Sum sum, Factor a, Factor b) { return vdotq_s32(sum, a, b); }
#else
  static constexpr const char* NAME = "int8 smull+sadalp/q";
  static INLINE Sum step(Sum sum, Factor a, Factor b) {
    sum = vpadalq_s16(sum, vmull_s8(vget_low_s8(a), vget_low_s8(b)));
    return vpadalq_s16(sum, vmull_high_s8(a, b));
  }
#endif
};

#else
#error "compile with the flags of a variant: its fused multiply-add is what is measured"
#endif

static double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// 10^9 operations a second of one thread over some microseconds.
template <class Kind>
static double window() {
  constexpr int STEPS = 20000;
  typename Kind::Sum sums[CHAINS] = {};
  typename Kind::Factor a = Kind::factor(), b = Kind::factor();
  const double began = now();
  for (int step = 0; step < STEPS; step++) {
#pragma GCC unroll 24
    for (int chain = 0; chain < CHAINS; chain++) {
      OPAQUE(a);
      sums[chain] = Kind::step(sums[chain], a, b);
      OPAQUE(sums[chain]);  // keeps the step together: several at once need more registers
    }
  }
  return 1e-9 * STEPS * CHAINS * Kind::OPERATIONS / (now() - began);
}

template <class Kind>
static void measure(int threads, double seconds) {
  std::vector<double> best(threads);
  std::vector<std::thread> running;
  for (int thread = 0; thread < threads; thread++)
    running.emplace_back([&best, thread, seconds] {
      for (const double began = now(); now() - began < seconds;)
        if (const double rate = window<Kind>(); rate > best[thread]) best[thread] = rate;
    });
  double total = 0;
  for (int thread = 0; thread < threads; thread++) running[thread].join(), total += best[thread];
  std::printf("%s %.2f\n", Kind::NAME, total);
}

int main(int count, char** arguments) {
  if (count != 3) return std::fprintf(stderr, "usage: roof THREADS SECONDS\n"), 2;
  const int threads = std::atoi(arguments[1]);
  const double seconds = std::atof(arguments[2]);
  measure<Fp32>(threads, seconds);
#if defined(__AVX512BF16__)
  measure<Bf16>(threads, seconds);
#endif
  measure<Int8>(threads, seconds);
}
