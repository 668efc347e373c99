// SPDX-License-Identifier: Apache-2.0
// Limits of both sides of HBONE (src/hbone/limits.ts, docs/limits.md).
#pragma once

#include <cstddef>
#include <cstdint>

namespace weft {

struct TunnelLimits {
  uint32_t streams_per_connection_server_max = 200;
  uint32_t streams_per_connection_client_max = 100;
  // A stream begins with the smaller window. It grows while the window, not the reader, is what limits the sender.
  uint32_t stream_window_bytes_min = 256 << 10;
  uint32_t stream_window_bytes_max = 4 << 20;
  uint32_t connection_window_bytes_min = 1 << 20;
  uint32_t connection_window_bytes_max = 16 << 20;
  uint32_t frame_bytes_max = 1 << 20;
  uint32_t header_list_bytes_max = 16 << 10;
  uint32_t header_fields_max = 32;
  uint64_t handshake_timeout_ms_max = 10'000;
  size_t handshakes_max = 1024;
  size_t sessions_max = 8192;
  uint64_t response_timeout_ms_max = 15'000;
  uint64_t connect_timeout_ms_max = 10'000;
  uint64_t certificate_wait_ms_max = 5'000;
  uint64_t idle_connection_ms_max = 300'000;
  uint64_t idle_surplus_ms_max = 30'000;
  uint32_t spread_tunnels_min = 8;
  uint32_t spread_connections_max = 4;
  uint64_t spread_wait_ms_max = 250;
  uint64_t spread_retry_ms = 60'000;
  uint64_t ping_interval_ms = 10'000;
  uint64_t ping_timeout_ms_max = 20'000;
  uint64_t old_certificate_ms_max = 24ull * 3600 * 1000;
  uint64_t drain_ack_ms_max = 1'000;
  // A connection that begins during the drain: its peer may already have sent its first request.
  uint64_t drain_new_ms = 1'000;
  // Bytes that the reset streams of one connection may leave to readers that are slow.
  uint64_t unread_bytes_max = 16 << 20;
};

// Replaceable by tests, before anything is created.
TunnelLimits& CurrentTunnelLimits();

}  // namespace weft
