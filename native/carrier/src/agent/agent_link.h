// SPDX-License-Identifier: Apache-2.0
// The way of packets to the agent. Workers send on the agent's socket themselves, so that a question costs no wake-up of another thread.
// Thread-safe.
#pragma once

#include <cstdint>
#include <mutex>
#include <string_view>

namespace weft {

class AgentLink {
 public:
  enum class Sent {
    kYes,
    kFull,  // the agent does not keep up: try again when the control thread says that there is room
    kGone,  // this session is over
  };

  // A connection of an agent: numbers of sessions grow. The descriptor stays open until Close.
  uint64_t Open(int socket);
  void Close();
  Sent Send(uint64_t session, std::string_view packet);
  // Whether a packet found no room since the last call.
  bool TakeWasFull();

 private:
  std::mutex mutex_;
  int socket_ = -1;
  uint64_t session_ = 0;
  bool was_full_ = false;
};

}  // namespace weft
