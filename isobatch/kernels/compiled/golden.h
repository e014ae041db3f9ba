// Hashes of the bits of every operation on fixed numbers, denormals and ties among them, which every
// variant must reproduce: golden.json has the expected ones.
#pragma once
#include <vector>

#include "block.h"
#include "dropout.h"
#include "embeddings.h"

namespace isobatch {

class Numbers {
 public:
  // About normal with deviation `factor`: sums of integers, hence exact.
  std::vector<float> normal(int64_t count, float factor = 1.0f) {
    std::vector<float> x(count);
    for (float& number : x) {
      int32_t sum = 0;
      for (int i = 0; i < 4; i++) sum += static_cast<int32_t>(next() & 0xffff) - 32768;
      number = static_cast<float>(sum) / 32768.0f * factor;  // a quotient by itself may vanish
    }
    return x;
  }
  int8_t byte() { return static_cast<int8_t>(static_cast<int32_t>(next() % 255) - 127); }

 private:
  uint32_t next() {
    state_ = state_ * 6364136223846793005ull + 1442695040888963407ull;
    return static_cast<uint32_t>(state_ >> 33);
  }
  uint64_t state_ = 1;
};

// FNV-1a of all bytes that it is given.
class Hash {
 public:
  template <class T>
  void add(const T* data, int64_t count) {
    const uint8_t* bytes = reinterpret_cast<const uint8_t*>(data);
    for (size_t i = 0; i < count * sizeof(T); i++) value_ = (value_ ^ bytes[i]) * 1099511628211ull;
  }
  void add(const std::vector<float>& numbers) { add(numbers.data(), numbers.size()); }
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 14695981039346656037ull;
};

// A product with the memory it points to, [out, in] weights filled and packed as in Python.
template <class Kind>
struct OwnedProduct {
  std::vector<uint8_t> weight;
  std::vector<int32_t> offset;
  std::vector<float> scale, bias;
  int64_t in, out;

  OwnedProduct(Numbers& numbers, int64_t in, int64_t out, bool largest = false) : in(in), out(out) {
    const int64_t columns = (out + COLUMNS - 1) / COLUMNS * COLUMNS;
    weight.resize(columns / PANEL * panel_bytes<Kind>(in));
    offset.resize(columns);
    scale = numbers.normal(columns, 0.01f);
    bias = numbers.normal(columns);
    std::fill(bias.begin() + out, bias.end(), 0.0f);
    for (int64_t o = 0; o < out; o++)
      for (int64_t i = 0; i < in; i++) put(numbers, o, i, largest);
  }
  void put(Numbers& numbers, int64_t o, int64_t i, bool largest) {
    constexpr int64_t N = Kind::NEIGHBOURS;
    const int64_t at = o / PANEL * PANEL * filled<Kind>(in) + i / N * PANEL * N + o % PANEL * N + i % N;
    if constexpr (std::is_same<Kind, Int8>::value) {
      const int8_t value = largest ? 127 : numbers.byte();
      weight[at] = static_cast<uint8_t>(value);
      offset[o] -= Int8::ZERO * value;
    } else {
      reinterpret_cast<float*>(weight.data())[at] = numbers.normal(1, 0.2f)[0];
    }
  }
  Product product() const {
    return {weight.data(), offset.data(), scale.data(), bias.data(), in, out, 1};
  }
};

template <class Emit>
void golden_functions(Emit&& emit) {
  constexpr const char* NAMES[] = {"",     "gelu",       "gelu_tanh", "relu", "relu6",
                                   "silu", "quick_gelu", "mish",      "tanh", "sigmoid"};
  for (int64_t activation = 1; activation < 10; activation++) {
    Numbers numbers;
    Hash hash;
    for (float factor : {1e-42f, 1e-30f, 1e-6f, 1.0f, 4.0f, 100.0f, 1e10f}) {
      std::vector<float> x = numbers.normal(261, factor);
      activate(static_cast<Activation>(activation), x.data(), 0, 1, 261);
      hash.add(x);
    }
    emit(NAMES[activation], hash.value());
  }
}

template <class Emit>
void golden_rows(Emit&& emit) {
  Numbers numbers;
  Hash norms, rounded, softmax;
  for (int64_t size : {1, 5, 64, 100, 192, 312})
    for (float factor : {1e-38f, 1e-20f, 1.0f, 100.0f, 1e15f}) {
      const std::vector<float> x = numbers.normal(size, factor);
      const std::vector<float> weight = numbers.normal(size), bias = numbers.normal(size);
      std::vector<float> y(size);
      normalize(Norm{weight.data(), bias.data(), size, size % 2 ? 1e-12 : 1e-5, 0}, x.data(), y.data());
      norms.add(y);
      std::vector<Int8::Number> stored(size);
      float scale;
      quantize(x.data(), stored.data(), &scale, size, Int8::ZERO);
      for (Int8::Number number : stored) {
        const int8_t value = static_cast<int8_t>(number - Int8::ZERO);
        rounded.add(&value, 1);
      }
      rounded.add(&scale, 1);
    }
  for (int64_t keys : {1, 2, 15, 16, 17, 63, 65, 130})
    for (float factor : {0.01f, 1.0f, 10.0f, 1000.0f}) {
      std::vector<float> x = numbers.normal(192, factor);
      const float inverse = exponentiate(x.data(), Span{0, keys}, 0.125f);
      softmax.add(x.data(), keys);
      softmax.add(&inverse, 1);
    }
  emit("layer_norm", norms.value());
  emit("quantize", rounded.value());
  emit("softmax", softmax.value());
}

template <class Emit>
void golden_attention(Emit&& emit) {
  Numbers numbers;
  Hash hash;
  for (int64_t size : {5, 16, 26, 64})
    for (int64_t keys : {1, 5, 16, 17, 65}) {
      const std::vector<float> query = numbers.normal(keys * size), key = numbers.normal(keys * size);
      const std::vector<float> value = numbers.normal(keys * size + LANES);
      std::vector<float> mixed(keys * size);
      const Head head{query.data(), key.data(), value.data(), mixed.data(), keys, keys, size, size, size};
      std::vector<float> scratch(attention_floats(head));
      attend(head, scratch.data());
      hash.add(mixed);
    }
  emit("attention", hash.value());
}

template <class Kind, class Emit>
void golden_linears(const char* name, Emit&& emit) {
  Numbers numbers;
  Hash hash;
  for (int64_t in : {3, 64, 100, 768})
    for (int64_t rows : {1, 2, 3, 6, 13}) {
      const int64_t out = in == 768 ? 2 : 70;
      const OwnedProduct<Kind> owned(numbers, in, out, rows == 2);
      std::vector<float> x = numbers.normal(rows * in), y(rows * out);
      if (rows == 2) std::fill(x.begin(), x.end(), 3.0f);  // the largest sums of int8
      forward_linear<Kind>(owned.product(), Activation::IDENTITY, x.data(), nullptr, y.data(), rows, 1);
      hash.add(y);
    }
  emit(name, hash.value());
}

template <class Kind, class Emit>
void golden_blocks(const char* name, Emit&& emit) {
  Numbers numbers;
  Hash hash;
  for (int64_t size : {24, 64}) {
    const int64_t wide = size * 3, cu_seqlens[] = {0, 1, 8, 28};
    std::vector<OwnedProduct<Kind>> owned;
    for (int i = 0; i < 4; i++) owned.emplace_back(numbers, size, size);
    owned.emplace_back(numbers, size, wide);
    owned.emplace_back(numbers, wide, size);
    const std::vector<float> weight = numbers.normal(size), bias = numbers.normal(size);
    const Norm norm{weight.data(), bias.data(), size, 1e-12, 0};
    Block block{};
    block.query = owned[0].product(), block.key = owned[1].product();
    block.value = owned[2].product(), block.output = owned[3].product();
    block.up = owned[4].product(), block.down = owned[5].product();
    block.attention_norm = block.norm = norm;
    block.heads = block.key_heads = 2;
    block.activation = Activation::GELU;
    const std::vector<float> x = numbers.normal(28 * size);
    for (Rows rows : {Rows::ALL, Rows::FIRST, Rows::LAST}) {
      std::vector<float> y((rows == Rows::ALL ? 28 : 3) * size);
      forward<Kind>(block, Positions{}, x.data(), y.data(), cu_seqlens, 3, rows, 1);
      hash.add(y);
    }
  }
  emit(name, hash.value());
}

// What the families after BERT have: RMS norms before, of heads too, a gate, shared keys, angles,
// added positions, and keys that are not read.
template <class Kind, class Emit>
void golden_later_blocks(const char* name, Emit&& emit) {
  Numbers numbers;
  Hash hash;
  const int64_t size = 48, wide = 80, of_head = 20, queries = 4 * of_head, keys = 2 * of_head;
  const int64_t cu_seqlens[] = {0, 1, 8, 108};
  const OwnedProduct<Kind> query(numbers, size, queries), key(numbers, size, keys);
  const OwnedProduct<Kind> value(numbers, size, keys), output(numbers, queries, size);
  const OwnedProduct<Kind> up(numbers, size, wide), gate(numbers, size, wide);
  const OwnedProduct<Kind> down(numbers, wide, size);
  const std::vector<float> weight = numbers.normal(size), added = numbers.normal(4 * 199);
  const std::vector<float> cosine = numbers.normal(100 * 8), sine = numbers.normal(100 * 8);
  const std::vector<float> x = numbers.normal(108 * size);
  Block block{};
  block.query = query.product(), block.key = key.product(), block.value = value.product();
  block.output = output.product(), block.up = up.product(), block.gate = gate.product();
  block.down = down.product();
  block.heads = 4, block.key_heads = 2, block.activation = Activation::SILU;
  for (int64_t rms : {0, 1}) {
    const Norm norm{weight.data(), nullptr, size, 1e-6, rms};
    const Norm of_heads{weight.data(), nullptr, of_head, 1e-6, 1};
    block.attention_input_norm = block.feed_forward_input_norm = norm;
    block.query_norm = block.key_norm = rms ? of_heads : Norm{};
    block.turned = rms ? 16 : 0;
    block.reach = rms ? Reach{-1, 1} : Reach{9, 0};
    block.scale = rms ? 0.0 : 0.3;
    Positions positions{};
    positions.cosine = cosine.data(), positions.sine = sine.data(), positions.span = 100;
    positions.added = rms ? nullptr : added.data();
    for (Rows rows : {Rows::ALL, Rows::FIRST, Rows::LAST}) {
      std::vector<float> y((rows == Rows::ALL ? 108 : 3) * size);
      forward<Kind>(block, positions, x.data(), y.data(), cu_seqlens, 3, rows, 1);
      hash.add(y);
    }
  }
  emit(name, hash.value());
}

// The row of each distance up to `longest` - 1 on either side: the next one up to `near`, then one for
// every third, up to row 2 span - 1.
INLINE std::vector<int32_t> golden_rows_of_distances(int64_t longest, int64_t near, int64_t span) {
  std::vector<int32_t> rows(2 * longest - 1);
  for (int64_t d = 1 - longest; d < longest; d++) {
    const int64_t size = d < 0 ? -d : d, number = size <= near ? size : near + (size - near + 2) / 3;
    const int64_t row = span + (d < 0 ? -number : number);
    rows[d + longest - 1] = static_cast<int32_t>(std::min(std::max<int64_t>(row, 0), 2 * span - 1));
  }
  return rows;
}

// Scores with products of queries and keys with rows for distances: each alone, and both.
template <class Kind, class Emit>
void golden_disentangled_blocks(const char* name, Emit&& emit) {
  Numbers numbers;
  Hash hash;
  const int64_t size = 22, wide = 30, heads = 2, of_head = 11, near = 20, span = 40;
  const int64_t longest = 150, rows = 128, cu_seqlens[] = {0, 1, 8, 143};
  std::vector<OwnedProduct<Kind>> owned;
  for (int i = 0; i < 4; i++) owned.emplace_back(numbers, size, size);
  owned.emplace_back(numbers, size, wide);
  owned.emplace_back(numbers, wide, size);
  const std::vector<float> weight = numbers.normal(size), bias = numbers.normal(size);
  const std::vector<float> x = numbers.normal(143 * size);
  const std::vector<int32_t> row_of = golden_rows_of_distances(longest, near, span);
  Block block{};
  block.query = owned[0].product(), block.key = owned[1].product();
  block.value = owned[2].product(), block.output = owned[3].product();
  block.up = owned[4].product(), block.down = owned[5].product();
  block.attention_norm = block.norm = Norm{weight.data(), bias.data(), size, 1e-7, 0};
  block.heads = block.key_heads = heads;
  block.activation = Activation::GELU;
  block.scale = 0.125;
  for (int products : {1, 2, 3}) {
    std::vector<float> panels[2];
    for (std::vector<float>& each : panels) {
      const std::vector<float> plain = numbers.normal(heads * rows * of_head);
      each.resize(plain.size());
      for (int64_t r = 0; r < heads * rows; r++)
        for (int64_t i = 0; i < of_head; i++)
          each[(r / PANEL * of_head + i) * PANEL + r % PANEL] = plain[r * of_head + i];
    }
    Positions positions{};
    positions.span = longest, positions.rows = rows, positions.near = near;
    if (products & 1) positions.panels_of_queries = panels[0].data();
    if (products & 2) positions.panels_of_keys = panels[1].data();
    positions.rows_of_queries = positions.rows_of_keys = row_of.data();
    for (Rows wanted : {Rows::ALL, Rows::FIRST, Rows::LAST}) {
      if (products < 3 && wanted == Rows::ALL) continue;  // some milliseconds of plain C++
      std::vector<float> y((wanted == Rows::ALL ? 143 : 3) * size);
      forward<Kind>(block, positions, x.data(), y.data(), cu_seqlens, 3, wanted, 1);
      hash.add(y);
    }
  }
  emit(name, hash.value());
}

template <class Emit>
void golden_embeddings(Emit&& emit) {
  Numbers numbers;
  Hash hash;
  for (int64_t size : {24, 64}) {
    const std::vector<float> word = numbers.normal(7 * size), position = numbers.normal(9 * size);
    const std::vector<float> type = numbers.normal(2 * size), scale = numbers.normal(7, 0.01f);
    const std::vector<float> weight = numbers.normal(size), bias = numbers.normal(size);
    std::vector<int8_t> bytes(7 * size);
    for (int8_t& byte : bytes) byte = numbers.byte();
    const int64_t words[] = {6, 0, 3}, positions[] = {8, 0, 1}, types[] = {0, 1, 1};
    const Norm norm{weight.data(), bias.data(), size, 1e-12, 0};
    std::vector<float> y(3 * size);
    for (bool narrow : {false, true}) {
      const void* table = narrow ? static_cast<const void*>(bytes.data()) : word.data();
      const Embeddings tables{table, narrow ? scale.data() : nullptr, position.data(), type.data(),
                              norm, 7, 9, 2, size, 1};
      embed_tokens(tables, Ids{words, positions, types}, y.data(), 3, 1);
      hash.add(y);
    }
  }
  emit("embeddings", hash.value());
}

template <class Emit>
void golden_masks(Emit&& emit) {
  Hash hash;
  const uint64_t keys[] = {0, 1, ~0ull};
  const int64_t counts[] = {1, 16, 4099};
  std::vector<float> mask(4116);
  for (int dropped : {0, 6554, 32768, LEVELS}) {
    draw_masks(7, 3, 11, keys, counts, 3, dropped, mask.data());
    hash.add(mask);
  }
  emit("dropout_masks", hash.value());
}

// Calls emit(name, hash) for every operation.
template <class Emit>
void golden(Emit&& emit) {
  const DefaultArithmetic arithmetic;
  golden_functions(emit);
  golden_rows(emit);
  golden_attention(emit);
  golden_linears<Fp32>("linear_fp32", emit);
  golden_linears<Int8>("linear_int8", emit);
  golden_blocks<Fp32>("block_fp32", emit);
  golden_blocks<Int8>("block_int8", emit);
  golden_embeddings(emit);
  golden_later_blocks<Fp32>("later_block_fp32", emit);
  golden_later_blocks<Int8>("later_block_int8", emit);
  golden_disentangled_blocks<Fp32>("disentangled_block_fp32", emit);
  golden_disentangled_blocks<Int8>("disentangled_block_int8", emit);
  golden_masks(emit);
}

}  // namespace isobatch
