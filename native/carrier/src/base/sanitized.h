// SPDX-License-Identifier: Apache-2.0
// Defines WEFT_SANITIZED in builds with a sanitizer whose runtime makes system calls that a seccomp filter would refuse.
#pragma once

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define WEFT_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(memory_sanitizer)
#define WEFT_SANITIZED 1
#endif
#endif
