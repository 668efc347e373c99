// SPDX-License-Identifier: Apache-2.0
// Reads layouts of maps and their structs from BTF, of a built object and of maps in the kernel, so that one build can read
// maps that another build wrote.
#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "addon.h"

namespace weft {

namespace {

constexpr const char kPrefix[] = "weft_";

// The name of a struct type; empty for numbers and for a missing type.
std::string StructName(const btf* types, uint32_t id) {
  const btf_type* type = types && id ? btf__type_by_id(types, id) : nullptr;
  return type && btf_is_struct(type) ? btf__name_by_offset(types, type->name_off) : "";
}

// {structs: {name: [size, {field: [offset, size, struct]}]}, enums: {NAME: value}}, of types whose names begin with weft_.
Napi::Object Describe(Napi::Env env, const btf* types) {
  auto structs = Napi::Object::New(env), enums = Napi::Object::New(env);
  for (uint32_t id = 1; types && id < btf__type_cnt(types); id++) {
    const btf_type* type = btf__type_by_id(types, id);
    const char* name = btf__name_by_offset(types, type->name_off);
    if (!name || strncmp(name, kPrefix, sizeof(kPrefix) - 1) != 0) continue;
    if (btf_is_struct(type)) {
      auto fields = Napi::Object::New(env);
      const btf_member* member = btf_members(type);
      for (uint16_t i = 0; i < btf_vlen(type); i++, member++) {
        auto place = Napi::Array::New(env);
        place.Set(0u, btf_member_bit_offset(type, i) / 8);
        place.Set(1u, double(btf__resolve_size(types, member->type)));
        place.Set(2u, StructName(types, member->type));
        fields.Set(btf__name_by_offset(types, member->name_off), place);
      }
      auto described = Napi::Array::New(env);
      described.Set(0u, type->size);
      described.Set(1u, fields);
      structs.Set(name, described);
    } else if (btf_is_enum(type)) {
      const struct btf_enum* value = btf_enum(type);
      for (uint16_t i = 0; i < btf_vlen(type); i++, value++)
        enums.Set(btf__name_by_offset(types, value->name_off), value->val);
    }
  }
  auto result = Napi::Object::New(env);
  result.Set("structs", structs);
  result.Set("enums", enums);
  return result;
}

// objectLayout(path): {structs, enums, maps: {name: {type, keySize, valueSize, maxEntries, flags, key, value}}}
Napi::Value ObjectLayout(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string path = info[0].As<Napi::String>();
  CaptureLibbpfLog();
  bpf_object* object = bpf_object__open_file(path.c_str(), nullptr);
  if (!object) Throw(env, "open " + path, errno, TakeLibbpfLog());
  const btf* types = bpf_object__btf(object);
  auto result = Describe(env, types);
  auto maps = Napi::Object::New(env);
  bpf_map* map;
  bpf_object__for_each_map(map, object) {
    if (!bpf_map__pin_path(map)) continue;  // read-only data and the like
    auto one = Napi::Object::New(env);
    one.Set("type", uint32_t(bpf_map__type(map)));
    one.Set("keySize", bpf_map__key_size(map));
    one.Set("valueSize", bpf_map__value_size(map));
    one.Set("maxEntries", bpf_map__max_entries(map));
    one.Set("flags", bpf_map__map_flags(map));
    one.Set("key", StructName(types, bpf_map__btf_key_type_id(map)));
    one.Set("value", StructName(types, bpf_map__btf_value_type_id(map)));
    maps.Set(bpf_map__name(map), one);
  }
  result.Set("maps", maps);
  bpf_object__close(object);
  return result;
}

// The C name of a type (for a typedef its own name: __be16), and the number of elements of an array; 0: not an array.
const char* ElementName(const btf* types, uint32_t id, uint32_t* count) {
  const btf_type* type = btf__type_by_id(types, id);
  *count = 0;
  if (btf_is_array(type)) {
    *count = btf_array(type)->nelems;
    type = btf__type_by_id(types, btf_array(type)->type);
  }
  return btf__name_by_offset(types, type->name_off);
}

// objectTypes(path): {structs: {name: [field, offset, size, type, count][]}, enums: {name: [enumerator, value][]}}, of types whose
// names begin with weft_, in C's order. generate-rows.mjs generates TypeScript from it.
Napi::Value ObjectTypes(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string path = info[0].As<Napi::String>();
  btf* types = btf__parse(path.c_str(), nullptr);
  if (!types) Throw(env, "read the types of " + path, errno);
  auto structs = Napi::Object::New(env), enums = Napi::Object::New(env);
  for (uint32_t id = 1; id < btf__type_cnt(types); id++) {
    const btf_type* type = btf__type_by_id(types, id);
    const char* name = btf__name_by_offset(types, type->name_off);
    if (!name || strncmp(name, kPrefix, sizeof(kPrefix) - 1) != 0) continue;
    auto members = Napi::Array::New(env);
    for (uint32_t i = 0; i < btf_vlen(type); i++) {
      auto one = Napi::Array::New(env);
      if (btf_is_struct(type)) {
        const btf_member* member = btf_members(type) + i;
        uint32_t count;
        const char* element = ElementName(types, member->type, &count);
        one.Set(0u, btf__name_by_offset(types, member->name_off));
        one.Set(1u, btf_member_bit_offset(type, i) / 8);
        one.Set(2u, double(btf__resolve_size(types, member->type)));
        one.Set(3u, element);
        one.Set(4u, count);
      } else if (btf_is_enum(type)) {
        one.Set(0u, btf__name_by_offset(types, btf_enum(type)[i].name_off));
        one.Set(1u, btf_enum(type)[i].val);
      }
      members.Set(i, one);
    }
    if (btf_is_struct(type)) structs.Set(name, members);
    if (btf_is_enum(type)) enums.Set(name, members);
  }
  btf__free(types);
  auto result = Napi::Object::New(env);
  result.Set("structs", structs);
  result.Set("enums", enums);
  return result;
}

// pinnedLayout(pin): {structs, enums, key, value} of the object that created the map.
Napi::Value PinnedLayout(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  std::string pin = info[0].As<Napi::String>();
  int fd = bpf_obj_get(pin.c_str());
  if (fd < 0) Throw(env, "open map " + pin, errno);
  bpf_map_info map{};
  uint32_t length = sizeof(map);
  int error = bpf_obj_get_info_by_fd(fd, &map, &length) ? errno : 0;
  close(fd);
  if (error) Throw(env, "inspect map " + pin, error);
  btf* types = map.btf_id ? btf__load_from_kernel_by_id(map.btf_id) : nullptr;
  if (map.btf_id && !types) Throw(env, "read the types of " + pin, errno);
  auto result = Describe(env, types);
  result.Set("key", StructName(types, map.btf_key_type_id));
  result.Set("value", StructName(types, map.btf_value_type_id));
  btf__free(types);
  return result;
}

// pinAgain(from, to): pins the map at `from` a second time, at `to`.
Napi::Value PinAgain(const Napi::CallbackInfo& info) {
  std::string from = info[0].As<Napi::String>(), to = info[1].As<Napi::String>();
  int fd = bpf_obj_get(from.c_str());
  if (fd < 0) Throw(info.Env(), "open " + from, errno);
  int error = bpf_obj_pin(fd, to.c_str()) ? errno : 0;
  close(fd);
  if (error) Throw(info.Env(), "pin " + to, error);
  return info.Env().Undefined();
}

}  // namespace

void InitBtf(Napi::Env env, Napi::Object exports) {
  exports.Set("objectLayout", Napi::Function::New(env, ObjectLayout));
  exports.Set("objectTypes", Napi::Function::New(env, ObjectTypes));
  exports.Set("pinnedLayout", Napi::Function::New(env, PinnedLayout));
  exports.Set("pinAgain", Napi::Function::New(env, PinAgain));
}

}  // namespace weft
