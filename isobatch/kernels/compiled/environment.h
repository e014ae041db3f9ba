// The state of a thread outside the program's text that its results depend on: how floating-point
// numbers are rounded, and whether denormals are flushed to zero; and OpenMP, where it exists.
//
// A library built with -Ofast, or torch.set_flush_denormal, changes the state of a thread for good.
#pragma once
#include <cstdint>

#if defined(__x86_64__)
#include <immintrin.h>
#endif
#include <omp.h>

namespace isobatch {

// While it lives, the thread computes as IEEE 754 says by default.
class DefaultArithmetic {
 public:
  DefaultArithmetic() : before_(read()) {
    if (before_ != DEFAULT) write(DEFAULT);
  }
  ~DefaultArithmetic() {
    if (before_ != DEFAULT) write(before_);
  }
  DefaultArithmetic(const DefaultArithmetic&) = delete;
  DefaultArithmetic& operator=(const DefaultArithmetic&) = delete;

#if defined(__x86_64__)
  static constexpr uint64_t DEFAULT = 0x1f80;  // MXCSR: exceptions masked, to nearest, no flushing
  static uint64_t read() { return _mm_getcsr() & ~0x3fu; }  // without the flags of past exceptions
  static void write(uint64_t state) { _mm_setcsr(static_cast<unsigned>(state)); }
#else
  static constexpr uint64_t DEFAULT = 0;
  static uint64_t read() {
    uint64_t state;
    asm volatile("mrs %0, fpcr" : "=r"(state));
    return state;
  }
  static void write(uint64_t state) { asm volatile("msr fpcr, %0" : : "r"(state)); }
#endif

 private:
  uint64_t before_;
};

}  // namespace isobatch
