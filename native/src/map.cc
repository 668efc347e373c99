// SPDX-License-Identifier: Apache-2.0
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <cerrno>
#include <vector>

#include "addon.h"

namespace weft {

namespace {

class Map : public Napi::ObjectWrap<Map> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Map",
                       {InstanceMethod("info", &Map::Info), InstanceMethod("lookup", &Map::Lookup),
                        InstanceMethod("take", &Map::Take), InstanceMethod("update", &Map::Update),
                        InstanceMethod("remove", &Map::Remove), InstanceMethod("keys", &Map::Keys),
                        InstanceMethod("updateBatch", &Map::UpdateBatch), InstanceMethod("fd", &Map::Descriptor),
                        InstanceMethod("close", &Map::Close)});
  }

  explicit Map(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Map>(info) {
    std::string pin = info[0].As<Napi::String>();
    fd_ = bpf_obj_get(pin.c_str());
    if (fd_ < 0) Throw(info.Env(), "open map " + pin, errno);
    uint32_t length = sizeof(info_);
    if (bpf_obj_get_info_by_fd(fd_, &info_, &length)) {
      int number = errno;
      close(fd_);
      fd_ = -1;
      Throw(info.Env(), "inspect map " + pin, number);
    }
    bool per_cpu = info_.type == BPF_MAP_TYPE_PERCPU_ARRAY || info_.type == BPF_MAP_TYPE_PERCPU_HASH;
    // Per-CPU maps: the kernel returns one value per possible CPU, each rounded up to 8 bytes.
    value_size_ = per_cpu ? ((info_.value_size + 7) & ~7u) * libbpf_num_possible_cpus() : info_.value_size;
  }

  ~Map() override {
    if (fd_ >= 0) close(fd_);
  }

 private:
  Napi::Value Info(const Napi::CallbackInfo& info) {
    auto result = Napi::Object::New(info.Env());
    result.Set("type", info_.type);
    result.Set("keySize", info_.key_size);
    result.Set("valueSize", value_size_);
    result.Set("maxEntries", info_.max_entries);
    result.Set("id", info_.id);
    return result;
  }

  Napi::Value Descriptor(const Napi::CallbackInfo& info) {
    NeedOpen(info.Env());
    return Napi::Number::New(info.Env(), fd_);
  }

  void NeedOpen(Napi::Env env) {
    if (fd_ < 0) Throw(env, "use map", EBADF);
  }

  const uint8_t* Bytes(const Napi::CallbackInfo& info, size_t index, size_t size, const char* what) {
    NeedOpen(info.Env());
    auto bytes = info[index].As<Napi::Uint8Array>();
    if (bytes.ByteLength() != size) Throw(info.Env(), what, EMSGSIZE);
    return bytes.Data();
  }

  Napi::Value Read(const Napi::CallbackInfo& info, bool take) {
    const uint8_t* key = Bytes(info, 0, info_.key_size, "map key");
    auto value = Napi::Uint8Array::New(info.Env(), value_size_);
    int error = take ? bpf_map_lookup_and_delete_elem(fd_, key, value.Data())
                     : bpf_map_lookup_elem(fd_, key, value.Data());
    if (!error) return value;
    if (errno != ENOENT) Throw(info.Env(), "read map", errno);
    return info.Env().Undefined();
  }
  Napi::Value Lookup(const Napi::CallbackInfo& info) { return Read(info, false); }
  Napi::Value Take(const Napi::CallbackInfo& info) { return Read(info, true); }

  Napi::Value Update(const Napi::CallbackInfo& info) {
    const uint8_t* key = Bytes(info, 0, info_.key_size, "map key");
    const uint8_t* value = Bytes(info, 1, value_size_, "map value");
    if (bpf_map_update_elem(fd_, key, value, info[2].As<Napi::Number>().Uint32Value()))
      Throw(info.Env(), "write map", errno);
    return info.Env().Undefined();
  }

  Napi::Value Remove(const Napi::CallbackInfo& info) {
    const uint8_t* key = Bytes(info, 0, info_.key_size, "map key");
    if (!bpf_map_delete_elem(fd_, key)) return Napi::Boolean::New(info.Env(), true);
    if (errno != ENOENT && errno != EINVAL) Throw(info.Env(), "remove from map", errno);
    return Napi::Boolean::New(info.Env(), false);
  }

  // keys(max): concatenated keys, at most `max`. If a key is removed meanwhile, the kernel restarts its walk: hence the bound.
  Napi::Value Keys(const Napi::CallbackInfo& info) {
    NeedOpen(info.Env());
    uint32_t max = info[0].As<Napi::Number>().Uint32Value();
    std::vector<uint8_t> keys, key(info_.key_size);
    const void* previous = nullptr;
    uint32_t found = 0;
    while (found < max) {
      if (bpf_map_get_next_key(fd_, previous, key.data())) {
        // Any other error fails the call: an incomplete list must not pass for a complete one.
        if (errno != ENOENT) Throw(info.Env(), "walk map", errno);
        break;
      }
      keys.insert(keys.end(), key.begin(), key.end());
      last_ = key;
      previous = last_.data();
      found++;
    }
    auto result = Napi::Uint8Array::New(info.Env(), keys.size());
    std::copy(keys.begin(), keys.end(), result.Data());
    return result;
  }

  // updateBatch(keys, values): concatenated keys and values; one system call if the map type supports it, otherwise one per entry.
  Napi::Value UpdateBatch(const Napi::CallbackInfo& info) {
    NeedOpen(info.Env());
    auto keys = info[0].As<Napi::Uint8Array>();
    auto values = info[1].As<Napi::Uint8Array>();
    uint32_t count = info_.key_size ? keys.ByteLength() / info_.key_size : 0;
    if (keys.ByteLength() != size_t(count) * info_.key_size || values.ByteLength() != size_t(count) * value_size_)
      Throw(info.Env(), "map batch", EMSGSIZE);
    uint32_t done = count;
    LIBBPF_OPTS(bpf_map_batch_opts, options);
    if (count && bpf_map_update_batch(fd_, keys.Data(), values.Data(), &done, &options)) {
      for (uint32_t i = 0; i < count; i++)
        if (bpf_map_update_elem(fd_, keys.Data() + i * info_.key_size, values.Data() + i * value_size_, BPF_ANY))
          Throw(info.Env(), "write map", errno);
    }
    return Napi::Number::New(info.Env(), count);
  }

  Napi::Value Close(const Napi::CallbackInfo& info) {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
    return info.Env().Undefined();
  }

  int fd_ = -1;
  uint32_t value_size_ = 0;
  bpf_map_info info_{};
  std::vector<uint8_t> last_;
};

}  // namespace

void InitMap(Napi::Env env, Napi::Object exports) { exports.Set("Map", Map::Define(env)); }

}  // namespace weft
