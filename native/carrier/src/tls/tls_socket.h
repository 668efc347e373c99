// SPDX-License-Identifier: Apache-2.0
// TLS over a socket. Ciphertext and plaintext pass through buffers of the thread: an idle connection holds none.
#pragma once

#include <openssl/ssl.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/fd.h"

namespace weft {

// Buffers of one thread. Each call of TlsSocket leaves the ciphertext buffers empty.
struct TlsBuffers {
  static constexpr size_t kReadBytes = 256 << 10;
  // Frames that are encrypted and sent together.
  static constexpr size_t kStagingBytes = 128 << 10;

  static TlsBuffers& OfThread();

  std::unique_ptr<uint8_t[]> received{new uint8_t[kReadBytes]};
  size_t received_at = 0;
  size_t received_end = 0;
  // A record that was received in part before adds to what one read gives.
  std::unique_ptr<uint8_t[]> plain{new uint8_t[kReadBytes + (32 << 10)]};
  std::unique_ptr<uint8_t[]> staging{new uint8_t[kStagingBytes]};
  // Ciphertext of one Encrypt, or of handshake messages.
  static constexpr size_t kToSendBytes = 256 << 10;
  std::unique_ptr<uint8_t[]> to_send{new uint8_t[kToSendBytes]};
  size_t to_send_count = 0;
};

class TlsSocket {
 public:
  enum class Status {
    kOpen,
    // EOF or close_notify.
    kEnded,
    kFailed,
  };
  struct Received {
    const uint8_t* bytes = nullptr;  // in TlsBuffers::plain
    size_t count = 0;
    // The kernel's buffer was not emptied.
    bool may_have_more = false;
  };

  TlsSocket(Fd fd, const std::shared_ptr<SSL_CTX>& context, bool is_server);
  ~TlsSocket();

  // Client: writes the first message. Call Flush.
  void Begin();
  // One recv(). Goes on with the handshake, then decrypts everything that was received. Call Flush.
  Received Receive();
  // Encrypts into the thread's buffer. Call Flush within the same call of the loop.
  bool Encrypt(const uint8_t* bytes, size_t count);
  // Sends what was encrypted, and keeps what the kernel does not take. False: failed.
  bool Flush();
  // Drops what was encrypted since the last Flush.
  void DropUnflushed();
  // Sends close_notify and FIN, if nothing is left to send.
  void ShutDown();

  bool is_secured() const { return is_secured_; }
  bool is_blocked() const { return !unsent_.empty(); }
  Status status() const { return status_; }
  const std::string& why() const { return why_; }
  SSL* ssl() const { return ssl_.get(); }
  int fd() const { return fd_.get(); }
  Fd TakeFd() { return std::move(fd_); }

 private:
  struct Free {
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  void Fail(const std::string& why);
  void Handshake();

  Fd fd_;
  std::shared_ptr<SSL_CTX> context_;
  std::unique_ptr<SSL, Free> ssl_;
  std::vector<uint8_t> unsent_;
  size_t sent_ = 0;  // of unsent_
  bool is_secured_ = false;
  Status status_ = Status::kOpen;
  std::string why_;
};

}  // namespace weft
