// SPDX-License-Identifier: Apache-2.0
// A limit that is shared fairly (src/base/fair-limit.ts). A member may take one more while it holds less than the free amount, its group
// while it holds less than twice the free amount: something always remains for newcomers.
#pragma once

#include <cstddef>
#include <string>
#include <unordered_map>

namespace weft {

class FairLimit {
 public:
  explicit FairLimit(size_t max) : max_(max) {}

  // False: the limit or the share is used up.
  bool Take(const std::string& member, const std::string& group) {
    const size_t free = max_ - size_;
    if (free == 0 || Count(members_, member) >= free || Count(groups_, group) >= 2 * free) return false;
    members_[member]++;
    groups_[group]++;
    size_++;
    return true;
  }
  void Release(const std::string& member, const std::string& group) {
    size_--;
    Lower(&members_, member);
    Lower(&groups_, group);
  }
  size_t size() const { return size_; }

 private:
  using Counts = std::unordered_map<std::string, size_t>;
  static size_t Count(const Counts& counts, const std::string& key) {
    const auto found = counts.find(key);
    return found == counts.end() ? 0 : found->second;
  }
  static void Lower(Counts* counts, const std::string& key) {
    const auto found = counts->find(key);
    if (found != counts->end() && --found->second == 0) counts->erase(found);
  }
  size_t max_;
  size_t size_ = 0;
  Counts members_;
  Counts groups_;
};

}  // namespace weft
