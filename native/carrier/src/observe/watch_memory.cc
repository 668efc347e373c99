// SPDX-License-Identifier: Apache-2.0
#include "observe/watch_memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace weft {

namespace {
constexpr size_t kStep = 4096;
// What is free beyond this goes back.
constexpr size_t kFreeMax = 4 * kStep;
// Before each allocation: its size. As large as the strictest alignment.
constexpr size_t kPrefix = alignof(std::max_align_t);
static_assert(kPrefix >= sizeof(size_t));
// No field of a head is larger, nor is a table.
constexpr size_t kAllocationMax = 1 << 20;

PodShares& Bytes() {
  static thread_local PodShares bytes{WatchMemory::kBytesOfThread};
  return bytes;
}

void* Allocate(size_t size, void* memory) {
  auto* const budget = static_cast<WatchMemory*>(memory);
  if (size > kAllocationMax || !budget->Take(size + kPrefix)) return nullptr;
  char* const begin = static_cast<char*>(std::malloc(size + kPrefix));
  if (!begin) {
    budget->Release(size + kPrefix);
    return nullptr;
  }
  std::memcpy(begin, &size, sizeof(size));
  return begin + kPrefix;
}

size_t SizeOf(const void* pointer) {
  size_t size;
  std::memcpy(&size, static_cast<const char*>(pointer) - kPrefix, sizeof(size));
  return size;
}

void Free(void* pointer, void* memory) {
  if (!pointer) return;
  static_cast<WatchMemory*>(memory)->Release(SizeOf(pointer) + kPrefix);
  std::free(static_cast<char*>(pointer) - kPrefix);
}

void* AllocateZeros(size_t count, size_t size, void* memory) {
  if (size > 0 && count > kAllocationMax / size) return nullptr;
  void* const made = Allocate(count * size, memory);
  if (made) std::memset(made, 0, count * size);
  return made;
}

void* Reallocate(void* pointer, size_t size, void* memory) {
  void* const made = Allocate(size, memory);
  if (!made || !pointer) return made;
  std::memcpy(made, pointer, std::min(size, SizeOf(pointer)));
  Free(pointer, memory);
  return made;
}
}  // namespace

WatchMemory::WatchMemory(PodKey pod) : pod_(pod), allocator_{this, Allocate, Free, AllocateZeros, Reallocate} {}

WatchMemory::~WatchMemory() { Bytes().Release(pod_, taken_); }

bool WatchMemory::Take(size_t bytes) {
  if (used_ + bytes > taken_) {
    const size_t more = (used_ + bytes - taken_ + kStep - 1) / kStep * kStep;
    if (!Bytes().Take(pod_, more)) {
      is_used_up_ = true;
      return false;
    }
    taken_ += more;
  }
  used_ += bytes;
  return true;
}

void WatchMemory::Release(size_t bytes) {
  used_ -= bytes;
  if (taken_ - used_ <= kFreeMax) return;
  const size_t kept = (used_ + kStep - 1) / kStep * kStep;
  Bytes().Release(pod_, taken_ - kept);
  taken_ = kept;
}

}  // namespace weft
