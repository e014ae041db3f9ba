// The embedding of each token: its rows of up to three tables, added and normalized; and norms alone.
#pragma once
#include <omp.h>

#include "environment.h"
#include "rows.h"

namespace isobatch {

// Tables [rows, size]. `word` is float32, or int8 with a scale for each row if `word_scale` is given;
// without `word_ids` its row i is that of token i; its rows are multiplied by `factor`. `position` and
// `type` may be missing; the only row of a type, if `types` is 1, is that of every token.
struct Embeddings {
  const void* word;
  const float* word_scale;
  const float* position;
  const float* type;
  Norm norm;
  int64_t words, positions, types, size;
  double factor;
};

struct Ids {
  const int64_t* word;
  const int64_t* position;
  const int64_t* type;
};

// (word + type) + position in columns [i, i + 16) of one token.
INLINE Floats embed(const Embeddings& tables, int64_t word, int64_t position, int64_t type,
                    int64_t i, int64_t count) {
  const int64_t size = tables.size;
  Floats sum;
  if (tables.word_scale) {
    const int8_t* numbers = static_cast<const int8_t*>(tables.word) + word * size + i;
    float widened[LANES] = {};
    for (int64_t j = 0; j < count; j++) widened[j] = numbers[j];
    sum = load(widened) * all(tables.word_scale[word]);
  } else {
    sum = load(static_cast<const float*>(tables.word) + word * size + i, count);
  }
  if (tables.factor != 1) sum = sum * all(static_cast<float>(tables.factor));
  if (tables.type) sum = sum + load(tables.type + type * size + i, count);
  return tables.position ? sum + load(tables.position + position * size + i, count) : sum;
}

INLINE bool within(const int64_t* ids, int64_t token, int64_t rows) {
  return !ids || (ids[token] >= 0 && ids[token] < rows);
}

// y [tokens, size]; returns the first token with an id that a table has no row for, or -1.
static int64_t embed_tokens(const Embeddings& tables, const Ids& ids, float* y, int64_t tokens,
                            int threads) {
  for (int64_t t = 0; t < tokens; t++)
    if (!within(ids.word, t, tables.words) ||
        (tables.position && !within(ids.position, t, tables.positions)) ||
        (tables.type && tables.types > 1 && !within(ids.type, t, tables.types)))
      return t;
#pragma omp parallel num_threads(threads)
  {
    const DefaultArithmetic arithmetic;
#pragma omp for
    for (int64_t t = 0; t < tokens; t++) {
      float* row = y + t * tables.size;
      const int64_t word = ids.word ? ids.word[t] : t;
      const int64_t type = tables.types > 1 ? ids.type[t] : 0;
      over_columns(tables.size, [&](int64_t i, auto, int64_t count) UNROLLED {
        store(row + i, embed(tables, word, ids.position[t], type, i, count), count);
      });
      if (tables.norm.weight) normalize(tables.norm, row, row);
    }
  }
  return -1;
}

// y [rows, size]: each row normalized.
static void normalize_rows(const Norm& norm, const float* x, float* y, int64_t rows, int threads) {
#pragma omp parallel num_threads(threads)
  {
    const DefaultArithmetic arithmetic;
#pragma omp for
    for (int64_t r = 0; r < rows; r++) normalize(norm, x + r * norm.size, y + r * norm.size);
  }
}

}  // namespace isobatch
