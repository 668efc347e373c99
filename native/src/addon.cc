// SPDX-License-Identifier: Apache-2.0
#include "addon.h"

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
  weft::InitObject(env, exports);
  weft::InitMap(env, exports);
  weft::InitRing(env, exports);
  weft::InitNetns(env, exports);
  weft::InitDiag(env, exports);
  weft::InitBtf(env, exports);
  weft::InitProbe(env, exports);
  weft::InitLock(env, exports);
  weft::InitChannel(env, exports);
  return exports;
}

NODE_API_MODULE(weft, Init)
