// SPDX-License-Identifier: Apache-2.0
#include "worker.h"

#include <doctest/doctest.h>
#include <sys/resource.h>

namespace weft {
namespace {

TEST_CASE("flows are limited by the descriptors of the process, a pod's by half of them") {
  rlimit before;
  REQUIRE(getrlimit(RLIMIT_NOFILE, &before) == 0);
  const auto with = [&](rlim_t files) {
    const rlimit limit = {files, before.rlim_max};
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    return LimitsOfProcess(2);
  };
  CHECK(with(4512).flows_max == 1000);
  CHECK(with(4512).flows_of_pod_max == 500);
  CHECK(with(64).flows_max == 16);
  if (before.rlim_max >= 1'000'000) CHECK(with(1'000'000).flows_max == 100'000);
  setrlimit(RLIMIT_NOFILE, &before);
}

}  // namespace
}  // namespace weft
