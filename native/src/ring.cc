// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "addon.h"

namespace weft {

namespace {

// Memory is bounded: a call takes at most `max` records from the kernel's ring. The rest stays there, and the eBPF programs count
// records that do not fit.
class Ring : public Napi::ObjectWrap<Ring> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Ring", {InstanceMethod("drain", &Ring::Drain), InstanceMethod("drainPacked", &Ring::DrainPacked), InstanceMethod("close", &Ring::Close)});
  }

  explicit Ring(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Ring>(info) {
    std::string pin = info[0].As<Napi::String>();
    int fd = bpf_obj_get(pin.c_str());
    if (fd < 0) Throw(info.Env(), "open ring " + pin, errno);
    CaptureLibbpfLog();
    ring_ = ring_buffer__new(fd, OnRecord, this, nullptr);
    int number = errno;
    close(fd);  // the ring's mapping holds its own reference
    if (!ring_) Throw(info.Env(), "map ring " + pin, number, TakeLibbpfLog());
  }

  ~Ring() override { ring_buffer__free(ring_); }

 private:
  static int OnRecord(void* self, void* data, size_t size) {
    auto* ring = static_cast<Ring*>(self);
    auto* bytes = static_cast<uint8_t*>(data);
    if (ring->record_size_ == 0)
      ring->records_.emplace_back(bytes, bytes + size);
    else if (size == ring->record_size_)
      ring->packed_.insert(ring->packed_.end(), bytes, bytes + size);
    ring->count_++;
    return ring->count_ >= ring->max_ ? -ENOSPC : 0;
  }

  // drain(max): Uint8Array[]
  Napi::Value Drain(const Napi::CallbackInfo& info) {
    if (!ring_) Throw(info.Env(), "use ring", EBADF);
    max_ = info[0].As<Napi::Number>().Uint32Value();
    auto result = Napi::Array::New(info.Env());
    if (max_ == 0) return result;
    records_.clear();
    Consume(info.Env(), 0);
    for (uint32_t i = 0; i < records_.size(); i++) {
      auto bytes = Napi::Uint8Array::New(info.Env(), records_[i].size());
      std::copy(records_[i].begin(), records_[i].end(), bytes.Data());
      result.Set(i, bytes);
    }
    records_.clear();
    return result;
  }

  // drainPacked(max, recordSize): Uint8Array of concatenated records of that size; records of other sizes are skipped.
  Napi::Value DrainPacked(const Napi::CallbackInfo& info) {
    if (!ring_) Throw(info.Env(), "use ring", EBADF);
    max_ = info[0].As<Napi::Number>().Uint32Value();
    packed_.clear();
    if (max_ > 0) Consume(info.Env(), info[1].As<Napi::Number>().Uint32Value());
    auto bytes = Napi::Uint8Array::New(info.Env(), packed_.size());
    std::copy(packed_.begin(), packed_.end(), bytes.Data());
    return bytes;
  }

  void Consume(Napi::Env env, size_t record_size) {
    record_size_ = record_size;
    count_ = 0;
    int error = ring_buffer__consume(ring_);
    if (error < 0 && error != -ENOSPC) Throw(env, "read ring", -error);
  }

  Napi::Value Close(const Napi::CallbackInfo& info) {
    ring_buffer__free(ring_);
    ring_ = nullptr;
    return info.Env().Undefined();
  }

  ring_buffer* ring_ = nullptr;
  uint32_t max_ = 0, count_ = 0;
  size_t record_size_ = 0;  // 0: records of any size, each in its own array
  std::vector<uint8_t> packed_;
  std::vector<std::vector<uint8_t>> records_;
};

}  // namespace

void InitRing(Napi::Env env, Napi::Object exports) { exports.Set("Ring", Ring::Define(env)); }

}  // namespace weft
