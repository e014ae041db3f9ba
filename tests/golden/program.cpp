// Prints the hash of the bits of every operation, as lines `name hash`.
//
// OPERATIONS names a part of them, which takes a fraction of the compiler's time. Started as `program
// flushed`, it first makes the thread flush denormals to zero, as torch.set_flush_denormal does, or a
// library built with -Ofast. golden() restores the thread's state by itself; its parts do not, unless
// they use threads.
#include <cstdio>
#include <cstring>

#include "golden.h"

static void flush_denormals() {
#if defined(__x86_64__)
  _mm_setcsr(_mm_getcsr() | 0x8040);
#else
  asm volatile("msr fpcr, %0" : : "r"(uint64_t{1} << 24));
#endif
}

template <class Emit>
static void elementwise(Emit&& emit) {
  isobatch::golden_functions(emit);
  isobatch::golden_rows(emit);
}

template <class Emit>
static void int8(Emit&& emit) {
  isobatch::golden_linears<isobatch::Int8>("linear_int8", emit);
}

template <class Emit>
static void products(Emit&& emit) {
  isobatch::golden_linears<isobatch::Fp32>("linear_fp32", emit);
  int8(emit);
}

#ifndef OPERATIONS
#define OPERATIONS isobatch::golden
#endif

int main(int count, char** arguments) {
  if (count > 1 && !std::strcmp(arguments[1], "flushed")) flush_denormals();
  OPERATIONS([](const char* name, uint64_t hash) {
    std::printf("%s %016llx\n", name, static_cast<unsigned long long>(hash));
  });
}
