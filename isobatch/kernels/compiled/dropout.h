// The masks of dropout by a counter: Philox 4x64 with ten rounds, in the order of NumPy's generator
// (Salmon et al., 2011, "Parallel Random Numbers: As Easy as 1, 2, 3").
#pragma once
#include <cstdint>
#include <cstring>

namespace isobatch {

struct Philox {
  uint64_t key[2], counter[4], drawn[4];

  // Draws 256 bits; the counter is increased before, as NumPy does.
  void next() {
    if (++counter[0] == 0) counter[1]++;
    uint64_t x0 = counter[0], x1 = counter[1], x2 = counter[2], x3 = counter[3];
    uint64_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
      const unsigned __int128 a = static_cast<unsigned __int128>(0xD2E7470EE14C6C93ull) * x0;
      const unsigned __int128 b = static_cast<unsigned __int128>(0xCA5A826395121157ull) * x2;
      x0 = static_cast<uint64_t>(b >> 64) ^ x1 ^ k0;
      x2 = static_cast<uint64_t>(a >> 64) ^ x3 ^ k1;
      x1 = static_cast<uint64_t>(b);
      x3 = static_cast<uint64_t>(a);
      k0 += 0x9E3779B97F4A7C15ull;
      k1 += 0xBB67AE8584CAA73Bull;
    }
    drawn[0] = x0, drawn[1] = x1, drawn[2] = x2, drawn[3] = x3;
  }
};

// Of 65,536 equally likely values of two bytes, `dropped` make a number 0.
static constexpr int LEVELS = 65536;

// mask: for each sequence `counts` numbers, 0 or 1 / (1 - probability).
static void draw_masks(uint64_t seed, uint64_t epoch, uint64_t place, const uint64_t* keys,
                       const int64_t* counts, int64_t sequences, int dropped, float* mask) {
  const int kept = LEVELS - dropped;
  const float scale = kept ? static_cast<float>(static_cast<double>(LEVELS) / kept) : 0.0f;
  for (int64_t s = 0; s < sequences; s++) {
    Philox philox{{seed, keys[s]}, {0, 0, epoch, place}, {}};
    float last[16];
    for (int64_t left = counts[s]; left > 0; left -= 16) {
      philox.next();
      uint16_t draws[16];  // little-endian, as all processors with a variant are
      std::memcpy(draws, philox.drawn, sizeof draws);
      float* numbers = left < 16 ? last : mask;
      for (int j = 0; j < 16; j++) numbers[j] = draws[j] >= dropped ? scale : 0.0f;
      if (left < 16) std::memcpy(mask, last, left * sizeof(float));
      mask += left < 16 ? left : 16;
    }
  }
}

}  // namespace isobatch
