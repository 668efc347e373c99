// SPDX-License-Identifier: Apache-2.0
// A descriptor of each thread that is kept back: when no other is left, connections that wait are accepted by it and reset. Their clients
// learn of it at once, where those in the queue of a listener would wait for nothing.
#pragma once

#include "base/fd.h"

namespace weft {

class SpareDescriptor {
 public:
  static SpareDescriptor& OfThread();

  // Keeps one, if there is none yet.
  void Keep();
  // Accepts and resets what waits, at most `count_max` connections. Returns how many; 0 if another thread was quicker.
  int RefuseWaiting(int listener, int count_max);

 private:
  Fd fd_;
};

}  // namespace weft
