// SPDX-License-Identifier: Apache-2.0
#include "control/ready_file.h"

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cstdlib>

TEST_CASE("the file of a former process does not say that this one is in use") {
  char dir[] = "/tmp/weft-ready-XXXXXX";
  REQUIRE(mkdtemp(dir));
  const std::string path = std::string(dir) + "/ready";
  std::string why;
  weft::ReadyFile former, ready;
  REQUIRE(former.Open(path, &why));
  former.Touch();
  struct stat found{};
  REQUIRE(stat(path.c_str(), &found) == 0);
  CHECK(found.st_mtim.tv_sec > time(nullptr) - 60);
  REQUIRE(ready.Open(path, &why));
  REQUIRE(stat(path.c_str(), &found) == 0);
  CHECK(found.st_mtim.tv_sec == 0);
  ready.Touch();
  REQUIRE(stat(path.c_str(), &found) == 0);
  CHECK(found.st_mtim.tv_sec > time(nullptr) - 60);
  unlink(path.c_str());
  weft::ReadyFile none;
  CHECK_FALSE(none.Open(std::string(dir) + "/missing/ready", &why));
  CHECK(why.find("missing/ready: No such file") != std::string::npos);
  rmdir(dir);
}
