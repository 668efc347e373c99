// SPDX-License-Identifier: Apache-2.0
#include "net/socket_file.h"

#include <doctest/doctest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>

#include "net/broker.h"

using namespace weft;

namespace {
struct Directory {
  std::string path;
  std::string why;
  Directory() {
    char name[] = "/tmp/weft-socket-file-XXXXXX";
    path = mkdtemp(name);
  }
  ~Directory() {
    unlink(Socket().c_str());
    rmdir(path.c_str());
  }
  std::string Socket() const { return path + "/one.sock"; }
  bool Exists() const { return access(Socket().c_str(), F_OK) == 0; }
};
}  // namespace

TEST_CASE("a socket that nobody listens on is replaced, another one is not") {
  Directory directory;
  SocketFile first, second, third;
  Fd listener = SocketFile::Listen(directory.Socket(), &first, &directory.why);
  REQUIRE(listener.valid());
  struct stat about{};
  REQUIRE(stat(directory.Socket().c_str(), &about) == 0);
  CHECK((about.st_mode & 0777) == 0600);
  CHECK_FALSE(SocketFile::Listen(directory.Socket(), &second, &directory.why).valid());
  CHECK(directory.why.find("another carrier of this name runs") != std::string::npos);
  listener.Close();
  // The clock of files is coarse.
  usleep(50'000);
  listener = SocketFile::Listen(directory.Socket(), &third, &directory.why);
  CHECK(listener.valid());
  // Of a carrier that ended long ago.
  first.Remove();
  CHECK(directory.Exists());
  third.Remove();
  CHECK_FALSE(directory.Exists());
}

TEST_CASE("the broker removes the file at its end") {
  Directory directory;
  SocketFile file;
  Fd listener = SocketFile::Listen(directory.Socket(), &file, &directory.why);
  REQUIRE(listener.valid());
  auto broker = BrokerProcess::Start(1, &directory.why, std::move(file));
  REQUIRE_MESSAGE(broker, directory.why);
  Fd channel = broker->TakeChannel(0);
  CHECK(directory.Exists());
  channel.Close();
  broker.reset();
  CHECK_FALSE(directory.Exists());
}

TEST_CASE("two carriers that start at once: one of them listens") {
  Directory directory;
  constexpr int kProcesses = 8;
  int listening[2], ended[2];
  REQUIRE(pipe(listening) == 0);
  REQUIRE(pipe(ended) == 0);
  {
    // What a former carrier has left.
    SocketFile file;
    REQUIRE(SocketFile::Listen(directory.Socket(), &file, &directory.why).valid());
  }
  for (int i = 0; i < kProcesses; i++) {
    if (fork() != 0) continue;
    close(ended[1]);
    SocketFile file;
    std::string why;
    const Fd listener = SocketFile::Listen(directory.Socket(), &file, &why);
    const char is_listening = listener.valid() ? 1 : 0;
    char end;
    if (write(listening[1], &is_listening, 1) != 1 || read(ended[0], &end, 1) < 0) _exit(1);
    _exit(0);
  }
  int count = 0;
  for (int i = 0; i < kProcesses; i++) {
    char is_listening = 0;
    REQUIRE(read(listening[0], &is_listening, 1) == 1);
    count += is_listening;
  }
  CHECK(count == 1);
  close(ended[1]);
  for (int i = 0; i < kProcesses; i++) wait(nullptr);
  for (const int fd : {listening[0], listening[1], ended[0]}) close(fd);
}
