// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <napi.h>
#include <string>

namespace weft {

// A failure as data: the operation, the errno, and the output of the kernel or libbpf. It becomes a JS error only in the JS
// thread, so nothing is thrown across threads.
struct Failure {
  std::string operation;
  int number = 0;
  std::string log;
};

Napi::Error ToError(Napi::Env env, const Failure& failure);
[[noreturn]] void Throw(Napi::Env env, const std::string& operation, int number, const std::string& log = "");

// libbpf logs through one global callback; the text is kept per thread.
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
void InitChannel(Napi::Env env, Napi::Object exports);

}  // namespace weft
