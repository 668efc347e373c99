// SPDX-License-Identifier: Apache-2.0
// One connection of an agent: packets in, with their descriptors. What is not valid ends the connection, never the process.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/fd.h"
#include "base/loop.h"
#include "carrier.pb.h"

namespace weft {

class AgentConnection : public Pollable, public Disposable {
 public:
  class User {
   public:
    virtual ~User() = default;
    // False, with a reason: the connection ends. `descriptors` are those of this message.
    virtual bool OnMessage(AgentConnection* from, const carrier::v1::AgentMessage& message, std::vector<Fd> descriptors, std::string* why) = 0;
    virtual void OnWritable(AgentConnection* from) = 0;
    // Called once, never within a call of the user. The connection is to be disposed of.
    virtual void OnEnd(AgentConnection* connection, const std::string& why) = 0;
  };

  // `number` distinguishes connections, those that ended too.
  AgentConnection(Loop* loop, Fd socket, User* user, uint64_t number);
  ~AgentConnection() override;
  bool Start();
  // Processes what has arrived, not the end of it.
  void ReadOut();
  // No event follows.
  void Stop();
  uint64_t number() const { return number_; }
  int fd() const { return socket_.get(); }

  void OnReady(uint32_t events) override;

 private:
  void Read();
  // False: `why` is set.
  bool Process(std::string* why);

  Loop* const loop_;
  Fd socket_;
  User* const user_;
  const uint64_t number_;
  bool is_stopped_ = false;
  bool is_registered_ = false;
  std::string buffer_;
  std::vector<Fd> descriptors_;
};

// The process at the other end runs as root or as this process's user.
bool IsPeerTrusted(int socket);

}  // namespace weft
