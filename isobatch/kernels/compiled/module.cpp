// The Python module of one variant: addresses in, nothing out. isobatch/kernels/compiled owns the
// memory, checks shapes, and imports a variant only where the processor has its instructions.
#include <Python.h>

#include "block.h"
#include "embeddings.h"
#include "golden.h"

#define JOINED_(a, b) a##b
#define JOINED(a, b) JOINED_(a, b)
#define TEXT_(a) #a
#define TEXT(a) TEXT_(a)

enum Precision : long { FP32 = 0, BF16 = 1, INT8 = 2 };

template <class T>
static T* at(long long address) {
  return reinterpret_cast<T*>(address);
}

// Returns f(a value of the kind of arithmetic that `precision` names); false if there is none.
template <class F>
static bool with_kind(long precision, F&& f) {
  switch (precision) {
    case FP32: return f(isobatch::Fp32{});
    case INT8: return f(isobatch::Int8{});
#if defined(__AVX512BF16__) && !defined(LANES_REFERENCE)
    case BF16: return f(isobatch::Bf16{});
#endif
  }
  return false;
}

// Python asks for no precision that a variant lacks, so that memory is the only cause.
static PyObject* none_if(bool computed) {
  if (computed) Py_RETURN_NONE;
  return PyErr_NoMemory();
}

static PyObject* forward_block(PyObject*, PyObject* arguments) {
  long precision;
  long long block, positions, x, y, cu_seqlens, sequences;
  int rows, threads;
  if (!PyArg_ParseTuple(arguments, "lLLLLLLii", &precision, &block, &positions, &x, &y, &cu_seqlens,
                        &sequences, &rows, &threads))
    return nullptr;
  bool computed;
  Py_BEGIN_ALLOW_THREADS
  computed = with_kind(precision, [=](auto kind) {
    return isobatch::forward<decltype(kind)>(*at<isobatch::Block>(block), *at<isobatch::Positions>(positions),
                                             at<float>(x), at<float>(y), at<int64_t>(cu_seqlens),
                                             sequences, static_cast<isobatch::Rows>(rows), threads);
  });
  Py_END_ALLOW_THREADS
  return none_if(computed);
}

static PyObject* forward_linear(PyObject*, PyObject* arguments) {
  long precision;
  long long product, activation, x, residual, y, rows;
  int threads;
  if (!PyArg_ParseTuple(arguments, "lLLLLLLi", &precision, &product, &activation, &x, &residual, &y,
                        &rows, &threads))
    return nullptr;
  bool computed;
  Py_BEGIN_ALLOW_THREADS
  computed = with_kind(precision, [=](auto kind) {
    return isobatch::forward_linear<decltype(kind)>(
        *at<isobatch::Product>(product), static_cast<isobatch::Activation>(activation),
        at<float>(x), at<float>(residual), at<float>(y), rows, threads);
  });
  Py_END_ALLOW_THREADS
  return none_if(computed);
}

static PyObject* embed_tokens(PyObject*, PyObject* arguments) {
  long long tables, ids, y, tokens, missing;
  int threads;
  if (!PyArg_ParseTuple(arguments, "LLLLi", &tables, &ids, &y, &tokens, &threads)) return nullptr;
  Py_BEGIN_ALLOW_THREADS
  missing = isobatch::embed_tokens(*at<isobatch::Embeddings>(tables), *at<isobatch::Ids>(ids),
                                   at<float>(y), tokens, threads);
  Py_END_ALLOW_THREADS
  return PyLong_FromLongLong(missing);
}

static PyObject* normalize_rows(PyObject*, PyObject* arguments) {
  long long norm, x, y, rows;
  int threads;
  if (!PyArg_ParseTuple(arguments, "LLLLi", &norm, &x, &y, &rows, &threads)) return nullptr;
  Py_BEGIN_ALLOW_THREADS
  isobatch::normalize_rows(*at<isobatch::Norm>(norm), at<float>(x), at<float>(y), rows, threads);
  Py_END_ALLOW_THREADS
  Py_RETURN_NONE;
}

static PyObject* draw_masks(PyObject*, PyObject* arguments) {
  unsigned long long seed, epoch, place;
  long long keys, counts, sequences, mask;
  int dropped;
  if (!PyArg_ParseTuple(arguments, "KKKLLLiL", &seed, &epoch, &place, &keys, &counts, &sequences,
                        &dropped, &mask))
    return nullptr;
  Py_BEGIN_ALLOW_THREADS
  isobatch::draw_masks(seed, epoch, place, at<uint64_t>(keys), at<int64_t>(counts), sequences, dropped,
                       at<float>(mask));
  Py_END_ALLOW_THREADS
  Py_RETURN_NONE;
}

static PyObject* golden_hashes(PyObject*, PyObject*) {
  PyObject* hashes = PyDict_New();
  isobatch::golden([=](const char* name, uint64_t hash) {
    PyObject* number = hashes ? PyLong_FromUnsignedLongLong(hash) : nullptr;
    if (number) PyDict_SetItemString(hashes, name, number);
    Py_XDECREF(number);
  });
  if (PyErr_Occurred()) Py_CLEAR(hashes);
  return hashes;
}

static PyMethodDef METHODS[] = {
    {"forward_block", forward_block, METH_VARARGS, "Compute one block; takes addresses."},
    {"forward_linear", forward_linear, METH_VARARGS, "Compute one linear; takes addresses."},
    {"embed_tokens", embed_tokens, METH_VARARGS, "Embed tokens; takes addresses."},
    {"normalize_rows", normalize_rows, METH_VARARGS, "Normalize rows; takes addresses."},
    {"draw_masks", draw_masks, METH_VARARGS, "Draw masks of dropout; takes addresses."},
    {"golden_hashes", golden_hashes, METH_NOARGS, "Hash the bits of every operation, by name."},
    {nullptr, nullptr, 0, nullptr}};

static PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_" TEXT(ISOBATCH_VARIANT), nullptr, -1,
                             METHODS, nullptr, nullptr, nullptr, nullptr};

PyMODINIT_FUNC JOINED(PyInit__, ISOBATCH_VARIANT)() {
  PyObject* module = PyModule_Create(&MODULE);
  if (!module) return nullptr;
  PyModule_AddIntConstant(module, "PANEL", isobatch::PANEL);
  PyModule_AddIntConstant(module, "INT8_NEIGHBOURS", isobatch::Int8::NEIGHBOURS);
  PyModule_AddIntConstant(module, "INT8_ZERO", isobatch::Int8::ZERO);
  return module;
}
