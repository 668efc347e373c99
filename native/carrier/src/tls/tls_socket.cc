// SPDX-License-Identifier: Apache-2.0
#include "tls/tls_socket.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "tls/tls_error.h"

namespace weft {

namespace {
// A peer that asks for new keys and reads nothing makes us keep the responses.
constexpr size_t kUnsentBytesMax = 1 << 20;

int ReadReceived(BIO* bio, char* to, int bytes_max) {
  TlsBuffers& buffers = TlsBuffers::OfThread();
  const size_t bytes = std::min(static_cast<size_t>(bytes_max), buffers.received_end - buffers.received_at);
  BIO_clear_retry_flags(bio);
  if (bytes == 0) {
    BIO_set_retry_read(bio);
    return -1;
  }
  memcpy(to, buffers.received.get() + buffers.received_at, bytes);
  buffers.received_at += bytes;
  return static_cast<int>(bytes);
}

int WriteToSend(BIO* bio, const char* from, int bytes) {
  BIO_clear_retry_flags(bio);
  TlsBuffers& buffers = TlsBuffers::OfThread();
  if (static_cast<size_t>(bytes) > TlsBuffers::kToSendBytes - buffers.to_send_count) return -1;
  memcpy(buffers.to_send.get() + buffers.to_send_count, from, static_cast<size_t>(bytes));
  buffers.to_send_count += static_cast<size_t>(bytes);
  return bytes;
}

long Control(BIO*, int command, long, void*) { return command == BIO_CTRL_FLUSH ? 1 : 0; }

BIO_METHOD* Method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "weft");
    BIO_meth_set_read(made, ReadReceived);
    BIO_meth_set_write(made, WriteToSend);
    BIO_meth_set_ctrl(made, Control);
    return made;
  }();
  return method;
}
}  // namespace

TlsBuffers& TlsBuffers::OfThread() {
  static thread_local TlsBuffers buffers;
  return buffers;
}

TlsSocket::TlsSocket(Fd fd, const std::shared_ptr<SSL_CTX>& context, bool is_server)
    : fd_(std::move(fd)), context_(context), ssl_(SSL_new(context.get())) {
  BIO* const bio = BIO_new(Method());
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl_.get(), bio, bio);
  if (is_server)
    SSL_set_accept_state(ssl_.get());
  else
    SSL_set_connect_state(ssl_.get());
}

TlsSocket::~TlsSocket() = default;

void TlsSocket::Begin() { Handshake(); }

void TlsSocket::Handshake() {
  ERR_clear_error();
  const int result = SSL_do_handshake(ssl_.get());
  if (result == 1) {
    is_secured_ = true;
    return;
  }
  const int error = SSL_get_error(ssl_.get(), result);
  if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) return;
  const long verified = SSL_get_verify_result(ssl_.get());
  const std::string text = TlsErrorText("the handshake failed");
  Fail(verified == X509_V_OK ? text : text + ": " + X509_verify_cert_error_string(verified));
}

TlsSocket::Received TlsSocket::Receive() {
  TlsBuffers& buffers = TlsBuffers::OfThread();
  Received result;
  if (status_ != Status::kOpen) return result;
  ssize_t count;
  do count = recv(fd_.get(), buffers.received.get(), TlsBuffers::kReadBytes, 0);
  while (count < 0 && errno == EINTR);
  if (count < 0) {
    if (errno != EAGAIN && errno != EWOULDBLOCK) Fail(std::string("the connection failed: ") + strerror(errno));
    return result;
  }
  if (count == 0) {
    status_ = Status::kEnded;
    return result;
  }
  result.may_have_more = static_cast<size_t>(count) == TlsBuffers::kReadBytes;
  buffers.received_at = 0;
  buffers.received_end = static_cast<size_t>(count);
  if (!is_secured_) Handshake();
  result.bytes = buffers.plain.get();
  while (is_secured_ && status_ == Status::kOpen) {
    constexpr size_t kRecordBytes = 16 << 10;
    ERR_clear_error();
    const int bytes = SSL_read(ssl_.get(), buffers.plain.get() + result.count, kRecordBytes);
    if (bytes > 0) {
      result.count += static_cast<size_t>(bytes);
      // Nothing is left: a further call would only say so, which cost a twelfth of a round trip (docs/benchmarks.md).
      if (buffers.received_at == buffers.received_end && SSL_pending(ssl_.get()) == 0) break;
      continue;
    }
    const int error = SSL_get_error(ssl_.get(), bytes);
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) break;
    if (error == SSL_ERROR_ZERO_RETURN)
      status_ = Status::kEnded;
    else
      Fail(TlsErrorText("the TLS connection failed"));
  }
  buffers.received_at = buffers.received_end = 0;
  return result;
}

bool TlsSocket::Encrypt(const uint8_t* bytes, size_t count) {
  while (count > 0) {
    ERR_clear_error();
    const int written = SSL_write(ssl_.get(), bytes, static_cast<int>(count));
    if (written <= 0) {
      Fail(TlsErrorText("the TLS connection failed"));
      return false;
    }
    bytes += written;
    count -= static_cast<size_t>(written);
  }
  return true;
}

bool TlsSocket::Flush() {
  TlsBuffers& buffers = TlsBuffers::OfThread();
  const uint8_t* const fresh = buffers.to_send.get();
  const size_t fresh_count = std::exchange(buffers.to_send_count, 0);
  const uint8_t* from;
  size_t count;
  if (unsent_.empty()) {
    from = fresh;
    count = fresh_count;
  } else {
    unsent_.insert(unsent_.end(), fresh, fresh + fresh_count);
    from = unsent_.data() + sent_;
    count = unsent_.size() - sent_;
  }
  while (count > 0) {
    const ssize_t sent = send(fd_.get(), from, count, MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) break;
      Fail(std::string("the connection failed: ") + strerror(errno));
      return false;
    }
    from += sent;
    count -= static_cast<size_t>(sent);
  }
  if (unsent_.empty()) {
    if (count > 0) unsent_.assign(from, from + count);
    sent_ = 0;
  } else if (count == 0) {
    std::vector<uint8_t>().swap(unsent_);
    sent_ = 0;
  } else {
    sent_ = unsent_.size() - count;
  }
  if (unsent_.size() - sent_ <= kUnsentBytesMax) return true;
  Fail("the peer does not read");
  return false;
}

void TlsSocket::DropUnflushed() { TlsBuffers::OfThread().to_send_count = 0; }

void TlsSocket::ShutDown() {
  if (!unsent_.empty() || !fd_.valid()) return;
  if (is_secured_ && status_ != Status::kFailed) {
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
    Flush();
  }
  shutdown(fd_.get(), SHUT_WR);
}

void TlsSocket::Fail(const std::string& why) {
  if (status_ == Status::kFailed) return;
  status_ = Status::kFailed;
  why_ = why;
}

}  // namespace weft
