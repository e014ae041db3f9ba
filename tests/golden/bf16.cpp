// Compares vdpbf16ps with its definition: of a pair of products first the odd one is added, then the
// even one, each by a fused multiply-add that takes and leaves denormals as zeros. Prints how many of
// the results differ, from the definition and from that with even first.
#include <immintrin.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstring>

static uint64_t state = 1;
static uint32_t random_bits() {
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return static_cast<uint32_t>(state >> 32);
}
// A bfloat16 number: half of them near one, half of any finite size, denormals among them.
static uint16_t random_number() {
  const uint32_t bits = random_bits();
  const uint32_t exponent = bits & 1 ? 120 + (bits >> 1) % 16 : (bits >> 1) % 180;
  return static_cast<uint16_t>((bits >> 31) << 15 | exponent << 7 | (bits >> 20 & 0x7f));
}
static float widened(uint16_t number) {
  const uint32_t bits = static_cast<uint32_t>(number) << 16;
  float wide;
  std::memcpy(&wide, &bits, 4);
  return wide;
}
static float flushed(float x) { return std::fabs(x) < 0x1p-126f ? std::copysign(0.0f, x) : x; }
static float step(float sum, uint16_t a, uint16_t b) {
  return flushed(std::fma(flushed(widened(a)), flushed(widened(b)), flushed(sum)));
}
static bool same(float a, float b) { return !std::memcmp(&a, &b, 4); }

int main() {
  int from_definition = 0, from_even_first = 0, tiny = 0;
  for (int vector = 0; vector < 20000; vector++) {
    uint16_t a[32], b[32];
    float sums[16], results[16];
    for (int i = 0; i < 32; i++) a[i] = random_number(), b[i] = random_number();
    for (float& sum : sums) sum = widened(random_number()) * 1.2345f;
    __m512i left, right;
    std::memcpy(&left, a, 64), std::memcpy(&right, b, 64);
    __m512 sum = _mm512_loadu_ps(sums);
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(left), "v"(right));
    _mm512_storeu_ps(results, sum);
    for (int lane = 0; lane < 16; lane++) {
      const int even = 2 * lane, odd = even + 1;
      const float expected = step(step(sums[lane], a[odd], b[odd]), a[even], b[even]);
      const float other = step(step(sums[lane], a[even], b[even]), a[odd], b[odd]);
      from_definition += !same(results[lane], expected);
      from_even_first += !same(results[lane], other);
      tiny += std::fabs(widened(a[even])) < 0x1p-126f || std::fabs(sums[lane]) < 0x1p-126f;
    }
  }
  std::printf("from_definition %d\nfrom_even_first %d\ntiny %d\n", from_definition, from_even_first, tiny);
}
