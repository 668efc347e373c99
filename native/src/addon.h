// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <napi.h>
#include <string>

namespace weft {

// A failure as data: what was tried, the errno, and the kernel's or libbpf's own words. Becomes a JS error in the
// JS thread only, so that nothing is ever thrown across threads.
struct Failure {
  std::string operation;
  int number = 0;
  std::string log;
};

Napi::Error ToError(Napi::Env env, const Failure& failure);
[[noreturn]] void Throw(Napi::Env env, const std::string& operation, int number, const std::string& log = "");

// libbpf prints by one global callback; each thread keeps its own text.
std::string TakeLibbpfLog();
void CaptureLibbpfLog();

void InitObject(Napi::Env env, Napi::Object exports);
void InitMap(Napi::Env env, Napi::Object exports);
void InitRing(Napi::Env env, Napi::Object exports);
void InitNetns(Napi::Env env, Napi::Object exports);
void InitDiag(Napi::Env env, Napi::Object exports);
void InitBtf(Napi::Env env, Napi::Object exports);
void InitProbe(Napi::Env env, Napi::Object exports);
void InitLock(Napi::Env env, Napi::Object exports);

}  // namespace weft
