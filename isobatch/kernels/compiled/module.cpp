// The Python module: addresses in, nothing out. isobatch/kernels/compiled/__init__.py owns the
// memory and checks shapes; here only the processor is asked what it can do.
#include <Python.h>

#if !defined(__x86_64__) || !defined(__GNUC__)
#error "written for x86-64 with GCC's or clang's intrinsics; elsewhere the torch path is used"
#endif

// For the kernels only: nothing above may use what an older processor lacks.
#pragma GCC push_options
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx512bf16,fma")
#include "block.h"
#pragma GCC pop_options

#include <strings.h>

#include <initializer_list>

enum Precision : long { FP32 = 0, BF16 = 1, INT8 = 2 };

// oneDNN's own limit applies here too, so that one environment variable emulates an older CPU
// everywhere.
static bool forbidden(long precision) {
  const char* most = std::getenv("ONEDNN_MAX_CPU_ISA");
  if (!most) return false;
  std::initializer_list<const char*> too_little = {"SSE41", "AVX", "AVX2", "AVX2_VNNI",
                                                   "AVX2_VNNI_2"};
  for (const char* name : too_little)
    if (!strcasecmp(most, name)) return true;
  if (!strcasecmp(most, "AVX512_CORE")) return precision != FP32;
  return precision == BF16 && !strcasecmp(most, "AVX512_CORE_VNNI");
}

static bool supports(long precision) {
  __builtin_cpu_init();
  if (forbidden(precision) || !__builtin_cpu_supports("avx512f") ||
      !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("fma"))
    return false;
  if (precision == BF16) return __builtin_cpu_supports("avx512bf16");
  if (precision == INT8) return __builtin_cpu_supports("avx512vnni");
  return precision == FP32;
}

static PyObject* is_supported(PyObject*, PyObject* argument) {
  return PyBool_FromLong(supports(PyLong_AsLong(argument)));
}

template <class T>
static T* at(long long address) {
  return reinterpret_cast<T*>(address);
}

// Calls f with a value of the kind of arithmetic that `precision` names.
template <class F>
static void with_kind(long precision, F&& f) {
  switch (precision) {
    case FP32: return f(isobatch::Fp32{});
    case BF16: return f(isobatch::Bf16{});
    case INT8: return f(isobatch::Int8{});
  }
}

static PyObject* forward_block(PyObject*, PyObject* arguments) {
  long precision;
  long long block, x, y, cu_seqlens, sequences;
  int rows, threads;
  if (!PyArg_ParseTuple(arguments, "lLLLLLii", &precision, &block, &x, &y, &cu_seqlens, &sequences,
                        &rows, &threads))
    return nullptr;
  Py_BEGIN_ALLOW_THREADS
  with_kind(precision, [=](auto kind) {
    isobatch::forward<decltype(kind)>(*at<isobatch::Block>(block), at<float>(x), at<float>(y),
                                      at<int64_t>(cu_seqlens), sequences,
                                      static_cast<isobatch::Rows>(rows), threads);
  });
  Py_END_ALLOW_THREADS
  Py_RETURN_NONE;
}

static PyObject* forward_product(PyObject*, PyObject* arguments) {
  long precision;
  long long product, x, y, rows;
  int threads;
  if (!PyArg_ParseTuple(arguments, "lLLLLi", &precision, &product, &x, &y, &rows, &threads))
    return nullptr;
  Py_BEGIN_ALLOW_THREADS
  with_kind(precision, [=](auto kind) {
    isobatch::forward_product<decltype(kind)>(*at<isobatch::Product>(product), at<float>(x),
                                              at<float>(y), rows, threads);
  });
  Py_END_ALLOW_THREADS
  Py_RETURN_NONE;
}

static PyMethodDef METHODS[] = {
    {"is_supported", is_supported, METH_O, "Whether this processor has a precision's instructions."},
    {"forward_block", forward_block, METH_VARARGS, "Compute one block; takes addresses."},
    {"forward_product", forward_product, METH_VARARGS, "Compute one product; takes addresses."},
    {nullptr, nullptr, 0, nullptr}};

static PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_kernels", nullptr, -1, METHODS,
                             nullptr, nullptr, nullptr, nullptr};

PyMODINIT_FUNC PyInit__kernels() { return PyModule_Create(&MODULE); }
