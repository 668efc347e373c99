// SPDX-License-Identifier: Apache-2.0
// A map like weft_sock, without programs.
#pragma once

#include <linux/bpf.h>
#include <linux/btf.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>
#include <cstring>

#include "base/fd.h"
#include "net/sock_map.h"

namespace weft {

// That of bpf/lib/abi.h, written down once more.
inline constexpr SockLayout kTestLayout{56, 20, 0, 16, 24, 18, 6, 2};

inline int BpfCall(bpf_cmd command, bpf_attr* attributes) { return static_cast<int>(syscall(SYS_bpf, command, attributes, sizeof(*attributes))); }

// Invalid if this process may not create maps.
inline Fd MakeSockMap(uint32_t row_bytes = kTestLayout.row_bytes) {
  // Types of key and value: an integer of four bytes, and an array of bytes.
  struct {
    btf_header header;
    btf_type key;
    uint32_t key_bits;
    btf_type byte;
    uint32_t byte_bits;
    btf_type row;
    btf_array array;
    char names[16];
  } btf{};
  btf.header = {BTF_MAGIC, BTF_VERSION, 0, sizeof(btf_header), 0, 0, 0, sizeof(btf.names)};
  btf.header.type_len = btf.header.str_off = sizeof(btf) - sizeof(btf_header) - sizeof(btf.names);
  memcpy(btf.names, "\0key\0byte", 10);
  btf.key.name_off = 1;
  btf.key.info = BTF_KIND_INT << 24;
  btf.key.size = 4;
  btf.key_bits = 32;
  btf.byte.name_off = 5;
  btf.byte.info = BTF_KIND_INT << 24;
  btf.byte.size = 1;
  btf.byte_bits = 8;
  btf.row.info = BTF_KIND_ARRAY << 24;
  btf.array = {2, 1, row_bytes};
  bpf_attr load;
  memset(&load, 0, sizeof(load));
  load.btf = reinterpret_cast<uintptr_t>(&btf);
  load.btf_size = sizeof(btf);
  const Fd types(BpfCall(BPF_BTF_LOAD, &load));
  if (!types.valid()) return Fd();
  bpf_attr create;
  memset(&create, 0, sizeof(create));
  create.map_type = BPF_MAP_TYPE_SK_STORAGE;
  create.key_size = 4;
  create.value_size = row_bytes;
  create.map_flags = BPF_F_NO_PREALLOC;
  create.btf_fd = static_cast<uint32_t>(types.get());
  create.btf_key_type_id = 1;
  create.btf_value_type_id = 3;
  return Fd(BpfCall(BPF_MAP_CREATE, &create));
}

}  // namespace weft
