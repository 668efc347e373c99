// SPDX-License-Identifier: Apache-2.0
#include <bpf/libbpf.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "addon.h"

namespace weft {

namespace {
constexpr size_t kLogBytesMax = 256 * 1024;
thread_local std::string log_text;

int Print(enum libbpf_print_level level, const char* format, va_list args) {
  if (level == LIBBPF_DEBUG) return 0;
  char line[4096];
  int n = vsnprintf(line, sizeof(line), format, args);
  if (n > 0 && log_text.size() < kLogBytesMax) log_text.append(line, std::min<size_t>(n, sizeof(line) - 1));
  return n;
}
}  // namespace

void CaptureLibbpfLog() {
  libbpf_set_print(Print);
  log_text.clear();
}

std::string TakeLibbpfLog() {
  std::string text;
  text.swap(log_text);
  return text;
}

Napi::Error ToError(Napi::Env env, const Failure& failure) {
  std::string text = failure.operation + ": " + strerror(failure.number);
  Napi::Error error = Napi::Error::New(env, text);
  error.Set("operation", Napi::String::New(env, failure.operation));
  error.Set("errno", Napi::Number::New(env, failure.number));
  error.Set("log", Napi::String::New(env, failure.log));
  return error;
}

void Throw(Napi::Env env, const std::string& operation, int number, const std::string& log) {
  throw ToError(env, Failure{operation, number, log});
}

}  // namespace weft
