// One Transformer block over packed sequences, by all threads of one parallel region.
//
// Every loop below is shared out among the threads of the region that calls it. A number's bits do not
// depend on who computes it, because no sum is ever shared out.
#pragma once
#include <omp.h>

#include <cstdlib>

#include "attention.h"

namespace isobatch {

// Rows whose intermediate results stay in the cache: 128 gave 759 GOP/s in int8, 512 gave 716. An
// unpacked weight is transposed once for each chunk, so there fewer and larger ones are better.
constexpr int64_t CHUNK = 128;
constexpr int64_t UNPACKED_CHUNK = 512;

enum Activation : int64_t { GELU = 0, RELU = 1 };

struct Block {
  Product query, key, value, output, up, down;
  Norm attention_norm, norm;
  int64_t heads;
  int64_t activation;
};

// Memory that a thread keeps between calls; it grows to the largest that was asked for.
struct Scratch {
  uint8_t* memory = nullptr;
  int64_t size = 0;
  ~Scratch() { std::free(memory); }
  template <class T>
  T* reserve(int64_t count) {
    const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
    if (bytes > size) {
      std::free(memory);
      size = (bytes + 4095) / 4096 * 4096;
      memory = static_cast<uint8_t*>(std::aligned_alloc(4096, size));
      if (!memory) std::abort();
    }
    return reinterpret_cast<T*>(memory);
  }
};
// What one call needs, held by the thread that calls; and what each thread of its region needs.
static thread_local Scratch call_scratch, thread_scratch;

// Consecutive pieces of one allocation, each aligned to a cache line.
struct Pieces {
  uint8_t* next;
  template <class T>
  T* take(int64_t count) {
    T* piece = reinterpret_cast<T*>(next);
    next += (count * static_cast<int64_t>(sizeof(T)) + 63) / 64 * 64;
    return piece;
  }
};

// Rows in the form that a product reads.
struct Stored {
  uint8_t* rows;
  float* scale;
};

template <class Kind>
void store_rows(const float* x, Stored stored, int64_t rows, int64_t size) {
#pragma omp for
  for (int64_t r = 0; r < rows; r++)
    Kind::store(x + r * size, stored.rows + r * size * Kind::BYTES, stored.scale + r, size);
}

// Leaves without waiting for the other threads: whoever reads the result puts a barrier first.
template <class Kind, class Emit>
void multiply(const Product& product, Stored x, int64_t rows, Emit emit) {
  const int64_t panel_bytes = product.in * COLUMNS * Kind::BYTES;
#pragma omp for schedule(dynamic) nowait
  for (int64_t column = 0; column < product.out; column += COLUMNS) {
    const uint8_t* panel = product.weight + column / COLUMNS * panel_bytes;
    if (!product.packed) {
      float* transposed = thread_scratch.reserve<float>(product.in * COLUMNS);
      transpose_panel(reinterpret_cast<const float*>(panel), product.in, COLUMNS, product.in,
                      transposed);
      panel = reinterpret_cast<const uint8_t*>(transposed);
    }
    multiply_panel<Kind>(product, panel, column, x.rows, x.scale, rows, emit);
  }
}

INLINE __m512 activate(int64_t activation, __m512 x) {
  return activation == GELU ? gelu(x) : _mm512_max_ps(x, _mm512_setzero_ps());
}

template <class Kind>
void project(const Product& product, Stored x, float* y, int64_t rows) {
  multiply<Kind>(product, x, rows, [=, &product](int64_t r, int64_t column, __m512 v) UNROLLED {
    _mm512_storeu_ps(y + r * product.out + column, v);
  });
}

template <class Kind>
void project_onto(const Product& product, Stored x, const float* residual, float* y, int64_t rows) {
  multiply<Kind>(product, x, rows, [=, &product](int64_t r, int64_t column, __m512 v) UNROLLED {
    const int64_t at = r * product.out + column;
    _mm512_storeu_ps(y + at, _mm512_add_ps(v, _mm512_loadu_ps(residual + at)));
  });
}

INLINE void attend_all(const Block& block, const float* query, const float* key,
                       const float* value, float* mixed, const int64_t* cu_seqlens,
                       int64_t sequences, bool first_only) {
  const int64_t hidden = block.up.in, size = hidden / block.heads;
#pragma omp for schedule(dynamic, 4)
  for (int64_t task = 0; task < sequences * block.heads; task++) {
    const int64_t sequence = task / block.heads, column = task % block.heads * size;
    const int64_t row = cu_seqlens[sequence], keys = cu_seqlens[sequence + 1] - row;
    const int64_t asking = (first_only ? sequence : row) * hidden + column;
    const Head head{query + asking, key + row * hidden + column, value + row * hidden + column,
                    mixed + asking, first_only ? 1 : keys, keys, hidden, size};
    attend(head, thread_scratch.reserve<float>(attention_floats(keys, size)));
  }
}

// What a block needs beside its result: whole batches of q, k, v, and a chunk of everything else.
template <class Kind>
struct Workspace {
  int64_t chunk;
  float *query, *key, *value, *mixed, *asking, *attended, *between;
  Stored stored;

  Workspace(const Block& block, int64_t tokens, int64_t rows) {
    const int64_t hidden = block.up.in, wide = block.up.out;
    chunk = std::min(block.query.packed ? CHUNK : UNPACKED_CHUNK, tokens);
    const int64_t numbers = hidden * (2 * tokens + 3 * rows + chunk) + chunk * (wide + 1);
    Pieces pieces{call_scratch.reserve<uint8_t>(4 * numbers + chunk * wide * Kind::BYTES + 640)};
    key = pieces.take<float>(tokens * hidden);
    value = pieces.take<float>(tokens * hidden);
    query = pieces.take<float>(rows * hidden);
    mixed = pieces.take<float>(rows * hidden);
    asking = pieces.take<float>(rows * hidden);
    attended = pieces.take<float>(chunk * hidden);
    between = pieces.take<float>(chunk * wide);
    stored = {pieces.take<uint8_t>(chunk * wide * Kind::BYTES), pieces.take<float>(chunk)};
  }
};

// One product by itself, x [rows, in] to y [rows, out].
template <class Kind>
void forward_product(const Product& product, const float* x, float* y, int64_t rows, int threads) {
  Pieces pieces{call_scratch.reserve<uint8_t>(rows * (product.in * Kind::BYTES + 4) + 128)};
  uint8_t* stored_rows = pieces.take<uint8_t>(rows * product.in * Kind::BYTES);
  const Stored stored{stored_rows, pieces.take<float>(rows)};
#pragma omp parallel num_threads(threads)
  {
    store_rows<Kind>(x, stored, rows, product.in);
    project<Kind>(product, stored, y, rows);
  }
}

// Everything of a block that follows its attention, for the rows of one chunk.
template <class Kind>
void finish(const Block& block, const Workspace<Kind>& work, const float* mixed,
            const float* residual, float* y, int64_t rows) {
  const int64_t size = block.up.in, wide = block.up.out;
  float *between = work.between, *attended = work.attended;
  store_rows<Kind>(mixed, work.stored, rows, size);
  project_onto<Kind>(block.output, work.stored, residual, between, rows);
#pragma omp barrier
#pragma omp for
  for (int64_t r = 0; r < rows; r++) {
    normalise(block.attention_norm, between + r * size, attended + r * size);
    Kind::store(attended + r * size, work.stored.rows + r * size * Kind::BYTES,
                work.stored.scale + r, size);
  }
  multiply<Kind>(block.up, work.stored, rows,
                 [=, &block](int64_t r, int64_t column, __m512 v) UNROLLED {
                   _mm512_storeu_ps(between + r * wide + column, activate(block.activation, v));
                 });
#pragma omp barrier
  store_rows<Kind>(between, work.stored, rows, wide);
  project_onto<Kind>(block.down, work.stored, attended, between, rows);
#pragma omp barrier
#pragma omp for
  for (int64_t r = 0; r < rows; r++) normalise(block.norm, between + r * size, y + r * size);
}

// x [tokens, hidden] to y, which is the same, or [sequences, hidden] if only first tokens ask.
template <class Kind>
void forward(const Block& block, const float* x, float* y, const int64_t* cu_seqlens,
             int64_t sequences, bool first_only, int threads) {
  const int64_t size = block.up.in, tokens = cu_seqlens[sequences];
  const int64_t rows = first_only ? sequences : tokens;
  const Workspace<Kind> work(block, tokens, rows);
  const float* asking = x;
  if (first_only) {
    for (int64_t s = 0; s < sequences; s++)
      std::memcpy(work.asking + s * size, x + cu_seqlens[s] * size, 4 * size);
    asking = work.asking;
  }
#pragma omp parallel num_threads(threads)
  {
    for (int64_t row = 0; row < tokens; row += work.chunk) {
      const int64_t count = std::min(work.chunk, tokens - row), at = row * size;
      store_rows<Kind>(x + at, work.stored, count, size);
      project<Kind>(block.key, work.stored, work.key + at, count);
      project<Kind>(block.value, work.stored, work.value + at, count);
      if (!first_only) project<Kind>(block.query, work.stored, work.query + at, count);
#pragma omp barrier
    }
    for (int64_t row = 0; first_only && row < rows; row += work.chunk) {
      const int64_t count = std::min(work.chunk, rows - row), at = row * size;
      store_rows<Kind>(asking + at, work.stored, count, size);
      project<Kind>(block.query, work.stored, work.query + at, count);
#pragma omp barrier
    }
    attend_all(block, work.query, work.key, work.value, work.mixed, cu_seqlens, sequences,
               first_only);
    for (int64_t row = 0; row < rows; row += work.chunk) {
      const int64_t count = std::min(work.chunk, rows - row), at = row * size;
      finish<Kind>(block, work, work.mixed + at, asking + at, y + at, count);
    }
  }
}

}  // namespace isobatch
