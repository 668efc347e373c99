// SPDX-License-Identifier: Apache-2.0
// The parts of one worker thread. A pod belongs to one thread, and so do its listeners, flows, tunnels and rules: nothing on the path of
// bytes is shared between threads.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/address.h"
#include "rules/rule.h"

namespace weft {

class Loop;
class Decider;
class PodSockets;
class SockMap;
class Credentials;
class TunnelPool;

// A pod as its worker knows it.
struct Pod {
  PodKey cookie = 0;
  std::string uid;
  std::string identity;
  std::vector<Ip> addresses;
  bool HasAddress(const Ip& ip) const {
    for (const Ip& own : addresses)
      if (own == ip) return true;
    return false;
  }
};

// Limits of one worker thread (docs/limits.md). Descriptors limit connections further (net/descriptor_shares.h).
struct Limits {
  uint32_t flows_max = 100'000;
  uint64_t dial_timeout_ms_max = 10'000;
  uint64_t linger_ms_max = 30'000;
};

struct Worker {
  Loop& loop;
  Decider& decider;
  PodSockets& sockets;
  SockMap& sock_map;
  Credentials& credentials;
  TunnelPool& pool;
  const Limits& limits;
  uint32_t flows = 0;  // of all pods of this worker, those that are being connected included
};

}  // namespace weft
