// One Transformer block over packed sequences, by all threads of one parallel region.
//
// Few rows: the columns of each product are divided among the threads. Many rows: each thread takes
// rows of its own through a whole stage, in tiles whose intermediate results stay in its cache, and
// no thread waits for another in between. The bits are the same either way: no sum is ever divided.
#pragma once
#include <omp.h>

#include <cstdlib>

#include "attention.h"
#include "environment.h"

namespace isobatch {

constexpr int64_t TILE = 8 * ROWS;
constexpr int64_t FEW_ROWS = 4 * ROWS;  // for each thread
// An unpacked weight is transposed once for this many rows.
constexpr int64_t UNPACKED_CHUNK = 512;

// Which rows of each sequence are computed; the values of isobatch.types.Rows.
enum class Rows : int { FIRST = 0, LAST = 1, ALL = 2 };

// Norms at up to four places, and of the heads of queries and keys. A gate, if there is one, is
// activated in place of `up`. `turned`: how many numbers of a head are turned by its position, by pairs.
struct Block {
  Product query, key, value, output, up, gate, down;
  Norm attention_input_norm, attention_norm, feed_forward_input_norm, norm, query_norm, key_norm;
  int64_t heads, key_heads;
  Activation activation;
  int64_t turned;
  Reach reach;
  double scale;

  int64_t size() const { return output.out; }
  int64_t head_size() const { return query.out / heads; }
  int64_t widest() const { return std::max(std::max(size(), query.out), up.out); }
};

// The parts that depend on the positions of a batch: cosines and sines of each, [places, turned / 2]; the
// addends of the scores, [heads, 2 span - 1]; and of products with the rows for distances their panels,
// [heads][rows / PANEL][size][PANEL], and the row of each of 2 span - 1 distances, see scores.h.
struct Positions {
  const float* cosine;
  const float* sine;
  const float* added;
  const float* panels_of_queries;
  const float* panels_of_keys;
  const int32_t* rows_of_queries;
  const int32_t* rows_of_keys;
  int64_t span;
  int64_t rows;
  int64_t near;

  Distances distances(int64_t head, int64_t size) const {
    const int64_t first = head * rows * size;
    const auto part = [=](const float* panels, const int32_t* row_of) {
      return panels ? DistanceRows{panels + first, row_of + span - 1, near} : DistanceRows{};
    };
    return {part(panels_of_queries, rows_of_queries), part(panels_of_keys, rows_of_keys), rows};
  }
};

// Memory that a thread keeps between calls; it grows to the largest size requested. The calling
// thread's grows with the batch and may fail, to be reported; those of a region's threads are as large
// as a tile or a head, and end the process where even these are not available.
struct Scratch {
  uint8_t* memory = nullptr;
  int64_t size = 0;
  ~Scratch() { std::free(memory); }
  uint8_t* try_reserve(int64_t bytes) {
    if (bytes > size) {
      std::free(memory);
      size = (bytes + 4095) / 4096 * 4096;
      memory = static_cast<uint8_t*>(std::aligned_alloc(4096, size));
      if (!memory) size = 0;
    }
    return memory;
  }
  template <class T>
  T* reserve(int64_t count) {
    uint8_t* reserved = try_reserve(count * static_cast<int64_t>(sizeof(T)));
    if (!reserved) std::abort();
    return reinterpret_cast<T*>(reserved);
  }
};
// The memory of one call, held by the calling thread; and that of each thread of its region.
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

// Execution policies for row loops: sequential, or work-shared across threads.
struct Sequential {
  template <class F>
  void each(int64_t count, F&& f) const {
    for (int64_t i = 0; i < count; i++) f(i);
  }
  void wait() const {}
};

struct Shared {
  // Returns without waiting for the others: call wait() before reading the results.
  template <class F>
  void each(int64_t count, F&& f) const {
#pragma omp for schedule(dynamic) nowait
    for (int64_t i = 0; i < count; i++) f(i);
  }
  void wait() const {
#pragma omp barrier
  }
};

// Rows in the form that a product reads.
struct Stored {
  uint8_t* rows;
  float* scale;
};

template <class Kind, class Team>
void store_rows(Team team, const float* x, Stored stored, int64_t rows, int64_t size) {
  team.each(rows, [=](int64_t r) {
    Kind::store_row(x + r * size, stored.rows + r * row_bytes<Kind>(size), stored.scale + r, size);
  });
  team.wait();
}

// x W^T + b to y [rows, out], a task for each 64 columns; end(first column, columns) follows each.
template <class Kind, class Team, class End>
void multiply(Team team, const Product& product, Stored x, float* y, int64_t rows, End end) {
  const int64_t in = product.in, out = product.out;
  team.each((out + COLUMNS - 1) / COLUMNS, [=, &product](int64_t i) {
    const uint8_t* weight = product.weight + i * PANELS * panel_bytes<Kind>(in);
    if (!product.packed) {
      const float* plain = reinterpret_cast<const float*>(product.weight) + i * COLUMNS * in;
      float* panels = thread_scratch.reserve<float>(COLUMNS * in);
      weight = reinterpret_cast<const uint8_t*>(panels);
      for (int64_t column = i * COLUMNS; column < out && column < (i + 1) * COLUMNS;
           column += PANEL, plain += PANEL * in, panels += PANEL * in)
        transpose_panel(plain, in, out - column, in, panels);
    }
    multiply_columns<Kind>(product, weight, i * COLUMNS, x.rows, x.scale, rows, y);
    end(i * COLUMNS, std::min(COLUMNS, out - i * COLUMNS));
  });
}

template <class Kind, class Team>
void project(Team team, const Product& product, Stored x, float* y, int64_t rows,
             Activation activation = Activation::IDENTITY) {
  multiply<Kind>(team, product, x, y, rows, [=, &product](int64_t first, int64_t columns) {
    activate(activation, y + first, product.out, rows, columns);
  });
}

template <class Kind, class Team>
void project_onto(Team team, const Product& product, Stored x, const float* residual, float* y,
                  int64_t rows) {
  multiply<Kind>(team, product, x, y, rows, [=, &product](int64_t first, int64_t columns) {
    add(y + first, residual + first, product.out, rows, columns);
  });
}

INLINE void attend_all(const Block& block, const Positions& positions, const float* query,
                       const float* key, const float* value, float* mixed,
                       const int64_t* cu_seqlens, int64_t sequences, Rows rows) {
  const int64_t size = block.head_size(), shared = block.heads / block.key_heads;
  const int64_t query_stride = block.query.out, key_stride = block.key.out;
#pragma omp for schedule(dynamic, 4)
  for (int64_t task = 0; task < sequences * block.heads; task++) {
    const int64_t sequence = task / block.heads, head = task % block.heads;
    const int64_t row = cu_seqlens[sequence], keys = cu_seqlens[sequence + 1] - row;
    const bool all = rows == Rows::ALL;
    const int64_t queries = (all ? row : sequence) * query_stride + head * size;
    const int64_t of_keys = row * key_stride + head / shared * size;
    const float* added = positions.added
        ? positions.added + head * (2 * positions.span - 1) + positions.span - 1 : nullptr;
    const Head part{query + queries, key + of_keys, value + of_keys, mixed + queries,
                    all ? keys : 1, keys, query_stride, key_stride, size,
                    rows == Rows::LAST ? keys - 1 : 0, block.reach,
                    static_cast<float>(block.scale), added, positions.distances(head, size)};
    attend(part, thread_scratch.reserve<float>(attention_floats(part)));
  }
}

// Queries or keys [rows, heads size]: the heads are normalized, then turned by the row's place.
template <class Team>
void place_heads(Team team, const Block& block, const Norm& norm, const Positions& positions,
                 float* x, int64_t columns, const int64_t* places, int64_t rows) {
  if (!norm.weight && !block.turned) return;
  team.wait();
  const int64_t size = block.head_size(), half = block.turned / 2;
  team.each(rows, [=](int64_t r) {
    for (float* head = x + r * columns; head < x + (r + 1) * columns; head += size) {
      if (norm.weight) normalize(norm, head, head);
      const int64_t at = places[r] * half;
      if (half) rotate(head, positions.cosine + at, positions.sine + at, half);
    }
  });
}

// Intermediate results of some rows, in a memory of bytes(block, rows).
template <class Kind>
struct Workspace {
  Stored stored;
  float *attended, *between, *gated;

  static int64_t bytes(const Block& block, int64_t rows) {
    const int64_t wide = block.widest(), gated = block.gate.weight ? block.up.out : 0;
    return rows * (row_bytes<Kind>(wide) + 4 * (block.size() + wide + gated + 1)) + 5 * 64;
  }
  Workspace(uint8_t* memory, const Block& block, int64_t rows) {
    const int64_t wide = block.widest();
    Pieces pieces{memory};
    stored.rows = pieces.take<uint8_t>(rows * row_bytes<Kind>(wide));
    stored.scale = pieces.take<float>(rows);
    attended = pieces.take<float>(rows * block.size());
    between = pieces.take<float>(rows * wide);
    gated = block.gate.weight ? pieces.take<float>(rows * block.up.out) : nullptr;
  }
};

// Rows as the products read them, normalized before where there is a norm; `spare` [rows, size].
template <class Kind, class Team>
void store_normalized(Team team, const Norm& norm, const float* x, float* spare, Stored stored,
                      int64_t rows, int64_t size) {
  team.each(rows, [=, &norm](int64_t r) {
    const float* row = x + r * size;
    if (norm.weight) {
      normalize(norm, row, spare + r * size);
      row = spare + r * size;
    }
    Kind::store_row(row, stored.rows + r * row_bytes<Kind>(size), stored.scale + r, size);
  });
  team.wait();
}

// up, or up activation(gate), of stored rows to `between`, then stored in their place.
template <class Kind, class Team>
void widen(Team team, const Block& block, const Workspace<Kind>& workspace, int64_t rows) {
  const int64_t wide = block.up.out;
  const Stored stored = workspace.stored;
  float *between = workspace.between, *gated = workspace.gated;
  const bool is_gated = block.gate.weight;
  project<Kind>(team, block.up, stored, between, rows,
                is_gated ? Activation::IDENTITY : block.activation);
  if (is_gated) project<Kind>(team, block.gate, stored, gated, rows, block.activation);
  team.wait();
  team.each(rows, [=](int64_t r) {
    float* row = between + r * wide;
    if (is_gated) multiply_by(row, gated + r * wide, wide);
    Kind::store_row(row, stored.rows + r * row_bytes<Kind>(wide), stored.scale + r, wide);
  });
  team.wait();
}

// Everything of a block that follows its attention.
template <class Kind, class Team>
void finish(Team team, const Block& block, const Workspace<Kind>& workspace, const float* mixed,
            const float* residual, float* y, int64_t rows) {
  const int64_t size = block.size();
  const Stored stored = workspace.stored;
  float *between = workspace.between, *attended = workspace.attended;
  store_rows<Kind>(team, mixed, stored, rows, block.output.in);
  const bool normalizes = block.attention_norm.weight;
  float* sum = normalizes ? between : attended;
  project_onto<Kind>(team, block.output, stored, residual, sum, rows);
  team.wait();
  team.each(rows, [=, &block](int64_t r) {
    const Norm& next = block.feed_forward_input_norm;
    float *row = attended + r * size, *spare = between + r * size;
    if (normalizes) normalize(block.attention_norm, spare, row);
    if (next.weight) normalize(next, row, spare);
    Kind::store_row(next.weight ? spare : row, stored.rows + r * row_bytes<Kind>(size),
                    stored.scale + r, size);
  });
  team.wait();
  widen<Kind>(team, block, workspace, rows);
  float* result = block.norm.weight ? between : y;
  project_onto<Kind>(team, block.down, stored, attended, result, rows);
  team.wait();
  if (!block.norm.weight) return;
  team.each(rows, [=, &block](int64_t r) {
    normalize(block.norm, between + r * size, y + r * size);
  });
  team.wait();
}

// Calls stage(team, workspace, first row, number of rows) until all rows are done, in every thread of the
// region; ends when all threads are done.
template <class Kind, class Stage>
void over_rows(const Block& block, int64_t rows, uint8_t* shared, Stage&& stage) {
  const int64_t threads = omp_get_num_threads();
  if (!block.query.packed || rows < FEW_ROWS * threads) {
    for (int64_t row = 0; row < rows; row += UNPACKED_CHUNK) {
      const int64_t count = std::min(UNPACKED_CHUNK, rows - row);
      stage(Shared{}, Workspace<Kind>(shared, block, count), row, count);
    }
    return;
  }
  const int64_t rounds = (rows + TILE * threads - 1) / (TILE * threads);
  const int64_t size = (rows + rounds * threads - 1) / (rounds * threads);
#pragma omp for schedule(dynamic)
  for (int64_t row = 0; row < rows; row += size) {
    uint8_t* own = thread_scratch.reserve<uint8_t>(Workspace<Kind>::bytes(block, size));
    stage(Sequential{}, Workspace<Kind>(own, block, size), row, std::min(size, rows - row));
  }
}

// The place of each token in its sequence.
INLINE void count_places(const int64_t* cu_seqlens, int64_t sequences, int64_t* places) {
  for (int64_t s = 0; s < sequences; s++)
    for (int64_t t = cu_seqlens[s]; t < cu_seqlens[s + 1]; t++) places[t] = t - cu_seqlens[s];
}

// x [tokens, hidden] to y: [tokens, hidden], or [sequences, hidden] for one row of each sequence.
// Returns false, with nothing computed, where memory is short.
template <class Kind>
bool forward(const Block& block, const Positions& positions, const float* x, float* y,
             const int64_t* cu_seqlens, int64_t sequences, Rows wanted, int threads) {
  const int64_t size = block.size(), tokens = cu_seqlens[sequences];
  const int64_t queries = block.query.out, keys = block.key.out;
  const bool all = wanted == Rows::ALL;
  const int64_t rows = all ? tokens : sequences;
  const int64_t shared_bytes = Workspace<Kind>::bytes(block, std::min(tokens, UNPACKED_CHUNK));
  Pieces pieces{call_scratch.try_reserve(4 * (2 * keys * tokens + (2 * queries + size) * rows) +
                                         4 * LANES + 8 * (tokens + rows) + 7 * 64 + shared_bytes)};
  if (!pieces.next) return false;
  float* key = pieces.take<float>(tokens * keys);
  float* value = pieces.take<float>(tokens * keys + LANES);  // attention reads sixteen at a time
  float *query = pieces.take<float>(rows * queries), *mixed = pieces.take<float>(rows * queries);
  float* selected = pieces.take<float>(rows * size);
  int64_t* places = pieces.take<int64_t>(tokens);
  int64_t* selected_places = pieces.take<int64_t>(rows);
  uint8_t* shared = pieces.next;
  count_places(cu_seqlens, sequences, places);
  for (int64_t s = 0; !all && s < sequences; s++) {
    const int64_t row = wanted == Rows::FIRST ? cu_seqlens[s] : cu_seqlens[s + 1] - 1;
    std::memcpy(selected + s * size, x + row * size, 4 * size);
    selected_places[s] = places[row];
  }
  const float* residual = all ? x : selected;
  const Norm& input_norm = block.attention_input_norm;
#pragma omp parallel num_threads(threads)
  {
    const DefaultArithmetic arithmetic;
    over_rows<Kind>(block, tokens, shared, [&](auto team, auto workspace, int64_t row, int64_t count) {
      const Stored stored = workspace.stored;
      store_normalized<Kind>(team, input_norm, x + row * size, workspace.attended, stored, count, size);
      project<Kind>(team, block.key, stored, key + row * keys, count);
      project<Kind>(team, block.value, stored, value + row * keys, count);
      if (all) {
        project<Kind>(team, block.query, stored, query + row * queries, count);
        place_heads(team, block, block.query_norm, positions, query + row * queries, queries,
                    places + row, count);
      }
      place_heads(team, block, block.key_norm, positions, key + row * keys, keys, places + row, count);
      team.wait();
    });
    if (!all)
      over_rows<Kind>(block, rows, shared, [&](auto team, auto workspace, int64_t row, int64_t count) {
        const Stored stored = workspace.stored;
        store_normalized<Kind>(team, input_norm, residual + row * size, workspace.attended, stored,
                               count, size);
        project<Kind>(team, block.query, stored, query + row * queries, count);
        place_heads(team, block, block.query_norm, positions, query + row * queries, queries,
                    selected_places + row, count);
        team.wait();
      });
    attend_all(block, positions, query, key, value, mixed, cu_seqlens, sequences, wanted);
    over_rows<Kind>(block, rows, shared, [&](auto team, auto workspace, int64_t row, int64_t count) {
      finish<Kind>(team, block, workspace, mixed + row * queries, residual + row * size,
                   y + row * size, count);
    });
  }
  return true;
}

// act(x W^T + b) + residual, x [rows, in]; residual, if there is one, and y [rows, out]. Returns false,
// with nothing computed, where memory is short.
template <class Kind>
bool forward_linear(const Product& product, Activation activation, const float* x,
                    const float* residual, float* y, int64_t rows, int threads) {
  Pieces pieces{call_scratch.try_reserve(rows * (row_bytes<Kind>(product.in) + 4) + 2 * 64)};
  if (!pieces.next) return false;
  uint8_t* stored_rows = pieces.take<uint8_t>(rows * row_bytes<Kind>(product.in));
  const Stored stored{stored_rows, pieces.take<float>(rows)};
#pragma omp parallel num_threads(threads)
  {
    const DefaultArithmetic arithmetic;
    store_rows<Kind>(Shared{}, x, stored, rows, product.in);
    if (residual) project_onto<Kind>(Shared{}, product, stored, residual, y, rows);
    else project<Kind>(Shared{}, product, stored, y, rows, activation);
  }
  return true;
}

}  // namespace isobatch
