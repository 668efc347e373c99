// SPDX-License-Identifier: Apache-2.0
#include "http2/callbacks.h"

#include <cstring>

#include "http2/connection.h"

namespace weft {

struct Http2Callbacks {
  static Http2Connection* Of(void* user) { return static_cast<Http2Connection*>(user); }

  static int OnBeginFrame(nghttp2_session*, const nghttp2_frame_hd* head, void* user) { return Of(user)->OnFrameBegin(*head); }
  static int OnFrame(nghttp2_session*, const nghttp2_frame* frame, void* user) { return Of(user)->OnFrame(*frame); }
  static int OnInvalid(nghttp2_session*, const nghttp2_frame*, int, void* user) { return Of(user)->OnInvalid(); }

  static int OnData(nghttp2_session*, uint8_t, int32_t id, const uint8_t* bytes, size_t count, void* user) {
    Http2Connection* const connection = Of(user);
    connection->consumed_ += count;
    if (Http2Stream* const stream = connection->Find(id)) stream->OnChunk(bytes, count);
    return 0;
  }

  static int OnBeginHeaders(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    Http2Connection* const connection = Of(user);
    connection->fields_.clear();
    connection->list_bytes_ = 0;
    if (frame->headers.cat == NGHTTP2_HCAT_REQUEST) connection->open_++;
    return 0;
  }

  static int OnHeader(nghttp2_session*, const nghttp2_frame* frame, const uint8_t* name, size_t name_bytes, const uint8_t* value,
                      size_t value_bytes, uint8_t, void* user) {
    return Of(user)->OnField({reinterpret_cast<const char*>(name), name_bytes}, {reinterpret_cast<const char*>(value), value_bytes},
                             frame->hd.stream_id);
  }

  static int OnClose(nghttp2_session*, int32_t id, uint32_t code, void* user) {
    Of(user)->OnClosed(id, code);
    return 0;
  }
  static int OnSent(nghttp2_session*, const nghttp2_frame* frame, void* user) {
    Of(user)->OnSent(*frame);
    return 0;
  }
  static int OnNotSent(nghttp2_session*, const nghttp2_frame* frame, int, void* user) {
    Of(user)->OnNotSent(*frame);
    return 0;
  }

  // Frames of unknown types are dropped. nghttp2 reports them only if somebody wants them, and they count.
  static int OnUnknown(nghttp2_session*, void**, const nghttp2_frame_hd*, void*) { return NGHTTP2_ERR_CANCEL; }

  static ssize_t FrameBytesMax(nghttp2_session*, uint8_t, int32_t, int32_t, int32_t, uint32_t peer_max, void* user) {
    return Of(user)->FrameBytesMax(peer_max);
  }

  // The payload is already behind the place of the header.
  static int SendData(nghttp2_session*, nghttp2_frame* frame, const uint8_t* head, size_t, nghttp2_data_source*, void* user) {
    Http2Connection* const connection = Of(user);
    memcpy(connection->produce_at_, head, Http2Connection::kFrameHeadBytes);
    connection->produce_at_ += Http2Connection::kFrameHeadBytes + frame->hd.length;
    return 0;
  }
};

const nghttp2_session_callbacks* Http2CallbackTable() {
  static const nghttp2_session_callbacks* const table = [] {
    nghttp2_session_callbacks* made = nullptr;
    nghttp2_session_callbacks_new(&made);
    nghttp2_session_callbacks_set_on_begin_frame_callback(made, Http2Callbacks::OnBeginFrame);
    nghttp2_session_callbacks_set_on_frame_recv_callback(made, Http2Callbacks::OnFrame);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(made, Http2Callbacks::OnInvalid);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(made, Http2Callbacks::OnData);
    nghttp2_session_callbacks_set_on_begin_headers_callback(made, Http2Callbacks::OnBeginHeaders);
    nghttp2_session_callbacks_set_on_header_callback(made, Http2Callbacks::OnHeader);
    nghttp2_session_callbacks_set_on_stream_close_callback(made, Http2Callbacks::OnClose);
    nghttp2_session_callbacks_set_on_frame_send_callback(made, Http2Callbacks::OnSent);
    nghttp2_session_callbacks_set_on_frame_not_send_callback(made, Http2Callbacks::OnNotSent);
    nghttp2_session_callbacks_set_data_source_read_length_callback(made, Http2Callbacks::FrameBytesMax);
    nghttp2_session_callbacks_set_unpack_extension_callback(made, Http2Callbacks::OnUnknown);
    nghttp2_session_callbacks_set_send_data_callback(made, Http2Callbacks::SendData);
    return made;
  }();
  return table;
}

const nghttp2_option* Http2Options() {
  static const nghttp2_option* const options = [] {
    nghttp2_option* made = nullptr;
    nghttp2_option_new(&made);
    nghttp2_option_set_no_auto_window_update(made, 1);
    nghttp2_option_set_no_closed_streams(made, 1);
    nghttp2_option_set_max_settings(made, Floods::kSettingsEntriesMax);
    nghttp2_option_set_max_outbound_ack(made, Floods::kQueuedFramesMax);
    nghttp2_option_set_max_continuations(made, Floods::kBlockFramesMax);
    for (int type = NGHTTP2_CONTINUATION + 1; type <= 0xff; type++)
      nghttp2_option_set_user_recv_extension_type(made, static_cast<uint8_t>(type));
    return made;
  }();
  return options;
}

}  // namespace weft
