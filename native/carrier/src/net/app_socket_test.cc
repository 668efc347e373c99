// SPDX-License-Identifier: Apache-2.0
#include "net/app_socket.h"

#include "net/test_sockets.h"

namespace weft {
namespace {

struct User : AppSocketUser {
  void OnReadable() override {
    readable++;
    if (!pulls) return;
    uint8_t bytes[4096];
    for (;;) {
      const ssize_t count = socket->Pull(bytes, sizeof(bytes));
      if (count == AppSocket::kLater) return;
      if (count <= 0) {
        text += count == 0 ? "<end>" : "<reset>";
        return;
      }
      text.append(reinterpret_cast<char*>(bytes), static_cast<size_t>(count));
    }
  }
  void OnWritten(size_t bytes) override { written += bytes; }
  void OnReset(int error) override {
    resets++;
    last_error = error;
    if (destroys) socket.reset();
  }
  void OnConnected(int error) override { connected = error; }

  std::unique_ptr<AppSocket> socket;
  std::string text;
  bool pulls = true, destroys = false;
  int readable = 0, resets = 0, last_error = 0, connected = -1;
  size_t written = 0;
};

struct Fixture {
  Fixture() {
    user.socket = std::make_unique<AppSocket>(&loop, std::move(connection.ours));
    REQUIRE(user.socket->Start(&user));
  }
  size_t Push(const std::string& text) {
    const iovec part = {const_cast<char*>(text.data()), text.size()};
    return user.socket->Push(&part, 1);
  }
  Loop loop;
  Connection connection;
  User user;
};

TEST_CASE_FIXTURE(Fixture, "bytes and both ends") {
  CHECK(SendAll(connection.app, "hello"));
  CHECK(RunUntil(&loop, [&] { return user.text == "hello"; }));
  CHECK(!user.socket->may_pull());
  CHECK(Push("answer") == 6);
  user.socket->PushEnd();
  CHECK(ReceiveAll(connection.app) == "answer<end>");
  CHECK(!user.socket->is_closed());
  CHECK(SendAll(connection.app, " again"));
  shutdown(connection.app.get(), SHUT_WR);
  CHECK(RunUntil(&loop, [&] { return user.text == "hello again<end>"; }));
  CHECK(user.socket->has_pulled_end());
  CHECK(user.resets == 0);
  user.socket->Close();
  CHECK(user.socket->is_closed());
}

TEST_CASE_FIXTURE(Fixture, "bytes and a FIN that come together cost one read") {
  CHECK(SendAll(connection.app, "last"));
  shutdown(connection.app.get(), SHUT_WR);
  usleep(10'000);
  user.pulls = false;
  loop.RunOnce(1000);
  uint8_t bytes[64];
  CHECK(user.socket->Pull(bytes, sizeof(bytes)) == 4);
  CHECK(user.socket->may_pull());
  CHECK(user.socket->Pull(bytes, sizeof(bytes)) == 0);
  CHECK(user.socket->Pull(bytes, sizeof(bytes)) == 0);
  // The other end: this closes the descriptor, and what is in flight still arrives.
  Push("response");
  user.socket->PushEnd();
  CHECK(user.socket->is_closed());
  CHECK(ReceiveAll(connection.app) == "response<end>");
}

TEST_CASE_FIXTURE(Fixture, "urgent data does not hide what follows it") {
  CHECK(SendAll(connection.app, "before"));
  CHECK(send(connection.app.get(), "!", 1, MSG_OOB) == 1);
  CHECK(SendAll(connection.app, "after"));
  usleep(10'000);
  CHECK(RunUntil(&loop, [&] { return user.text.ends_with("after"); }));
}

TEST_CASE_FIXTURE(Fixture, "bytes before a reset are pulled, then the reset") {
  CHECK(SendAll(connection.app, "data"));
  ResetNow(&connection.app);
  CHECK(RunUntil(&loop, [&] { return user.text == "data<reset>"; }));
  CHECK(user.resets == 1);
  CHECK(user.socket->was_reset());
  CHECK(Push("x") == 0);
  CHECK(user.socket->buffered() == 0);
}

TEST_CASE_FIXTURE(Fixture, "a reset that a write meets first is still a reset to the reader") {
  CHECK(SendAll(connection.app, "data"));
  usleep(10'000);
  user.pulls = false;
  loop.RunOnce(1000);
  ResetNow(&connection.app);
  CHECK(Push("x") == 0);
  CHECK(user.socket->was_reset());
  CHECK(user.resets == 0);  // not within the call
  user.pulls = true;
  CHECK(RunUntil(&loop, [&] { return user.text == "data<reset>"; }));
  CHECK(user.resets == 1);
}

TEST_CASE_FIXTURE(Fixture, "an end before the reset stays an end") {
  CHECK(SendAll(connection.app, "data"));
  // Closing with unread bytes would reset at once, so there are none yet.
  shutdown(connection.app.get(), SHUT_RDWR);
  connection.app.Close();
  usleep(10'000);
  Push("nobody reads this");
  usleep(10'000);
  CHECK(RunUntil(&loop, [&] { return user.resets == 1; }));
  CHECK(RunUntil(&loop, [&] { return user.text == "data<end>"; }));
}

TEST_CASE_FIXTURE(Fixture, "what the kernel does not take is buffered, in order, and the end follows it") {
  std::string sent;
  for (int i = 0; sent.size() < (8u << 20); i++) sent += std::to_string(i) + ",";
  const size_t half = sent.size() / 2;
  const iovec parts[] = {{sent.data(), half}, {nullptr, 0}, {sent.data() + half, sent.size() - half}};
  const size_t at_once = user.socket->Push(parts, 3);
  CHECK(at_once < sent.size());
  CHECK(user.socket->buffered() == sent.size() - at_once);
  user.socket->PushEnd();
  CHECK(!user.socket->has_pushed_end());
  std::string received;
  CHECK(RunUntil(&loop, [&] {
    received += ReceiveNow(connection.app);
    return received.ends_with("<end>");
  }));
  const bool is_equal = received == sent + "<end>";
  CHECK(is_equal);
  CHECK(user.written == sent.size() - at_once);
  CHECK(user.socket->has_pushed_end());
}

TEST_CASE_FIXTURE(Fixture, "Close without both ends resets, and so does the death of the process") {
  SUBCASE("Close") { user.socket->Close(); }
  SUBCASE("destruction") { user.socket.reset(); }
  SUBCASE("after its own FIN") {
    user.socket->PushEnd();
    CHECK(ReceiveAll(connection.app) == "<end>");
    user.socket->Close();
    // A reset after a FIN: writing fails.
    usleep(10'000);
    CHECK(send(connection.app.get(), "x", 1, MSG_NOSIGNAL) == -1);
    return;
  }
  SUBCASE("the kernel closes it") {
    close(user.socket->fd());
    CHECK(ReceiveAll(connection.app) == "<reset>");
    (void)!socket(AF_UNIX, SOCK_STREAM, 0);  // the number is in use again, for the destructor
    return;
  }
  CHECK(ReceiveAll(connection.app) == "<reset>");
}

TEST_CASE_FIXTURE(Fixture, "ResetOnceDelivered: a slow reader gets everything, then the reset") {
  std::string sent(6 << 20, 'r');
  Push(sent);
  bool in_time = false, is_done = false;
  user.socket->ResetOnceDelivered(5000, [&](bool value) {
    in_time = value;
    is_done = true;
  });
  CHECK(!is_done);
  // A peer that writes before it reads is not blocked.
  std::string received;
  const std::string upload(64 << 10, 'u');
  size_t uploaded = 0;
  CHECK(RunUntil(&loop, [&] {
    if (uploaded < (8u << 20)) {
      const ssize_t count = send(connection.app.get(), upload.data(), upload.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (count > 0) uploaded += static_cast<size_t>(count);
      return false;
    }
    received += ReceiveNow(connection.app);
    return received.ends_with("<reset>");
  }));
  const bool is_equal = received == sent + "<reset>";
  CHECK(is_equal);
  CHECK(is_done);
  CHECK(in_time);
}

TEST_CASE_FIXTURE(Fixture, "ResetOnceDelivered: one that never reads is reset at the limit") {
  Push(std::string(6 << 20, 'r'));
  bool in_time = true, is_done = false;
  user.socket->ResetOnceDelivered(50, [&](bool value) {
    in_time = value;
    is_done = true;
  });
  CHECK(RunUntil(&loop, [&] { return is_done; }));
  CHECK(!in_time);
  CHECK(ReceiveAll(connection.app).ends_with("<reset>"));
}

TEST_CASE_FIXTURE(Fixture, "ResetOnceDelivered: with nothing to deliver it resets within the call") {
  bool is_done = false;
  user.socket->ResetOnceDelivered(1000, [&](bool) { is_done = true; });
  CHECK(is_done);
  CHECK(ReceiveAll(connection.app) == "<reset>");
}

TEST_CASE_FIXTURE(Fixture, "a later user gets the events from before it") {
  user.pulls = false;
  CHECK(SendAll(connection.app, "early"));
  ResetNow(&connection.app);
  CHECK(RunUntil(&loop, [&] { return user.resets == 1; }));
  CHECK(user.socket->HasUnread());
  User next;
  next.socket = std::move(user.socket);
  REQUIRE(next.socket->Start(&next));
  CHECK(next.resets == 0);
  loop.RunOnce(0);
  CHECK(next.resets == 1);
  CHECK(next.text == "early<reset>");
}

TEST_CASE_FIXTURE(Fixture, "the user may destroy the socket in its call") {
  user.destroys = true;
  ResetNow(&connection.app);
  CHECK(RunUntil(&loop, [&] { return user.resets == 1; }));
  CHECK(!user.socket);
  loop.RunOnce(0);
}

TEST_CASE("Connect") {
  Loop loop;
  User user;
  Address address;
  Fd listener = ListenOnLoopback(&address);
  const auto make = [] { return Fd(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)); };
  user.socket = std::make_unique<AppSocket>(&loop, make());
  SUBCASE("succeeds") {
    REQUIRE(user.socket->Connect(address) == 0);
    REQUIRE(user.socket->Start(&user));
    CHECK(RunUntil(&loop, [&] { return user.connected >= 0; }));
    CHECK(user.connected == 0);
    Fd app(accept(listener.get(), nullptr, nullptr));
    CHECK(SendAll(app, "x"));
    CHECK(RunUntil(&loop, [&] { return user.text == "x"; }));
  }
  SUBCASE("is refused") {
    listener.Close();
    int error = user.socket->Connect(address);
    if (error == 0) {
      REQUIRE(user.socket->Start(&user));
      CHECK(RunUntil(&loop, [&] { return user.connected >= 0; }));
      error = user.connected;
    }
    CHECK(error == ECONNREFUSED);
    CHECK(user.resets == 0);
  }
  SUBCASE("is not possible") {
    CHECK(user.socket->Connect(*ParseAddress("255.255.255.255:9")) != 0);
  }
}

}  // namespace
}  // namespace weft
