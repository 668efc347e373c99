/* SPDX-License-Identifier: Apache-2.0 */
/* What both ends of HTTP/2 share: a session of nghttp2 over a socket, and one write for all frames of a turn. */
#ifndef WEFT_BENCH_HTTP2_H
#define WEFT_BENCH_HTTP2_H

#include "common.h"
#include <nghttp2/nghttp2.h>

#define WINDOW_BYTES (1 << 20)
#define CONNECTION_WINDOW_BYTES (1 << 24)
#define STREAMS_MAX 16384
#define GRPC_PREFIX_BYTES 5

static inline nghttp2_nv field(const char *name, const char *value)
{
	return (nghttp2_nv){(uint8_t *)(uintptr_t)name, (uint8_t *)(uintptr_t)value, strlen(name), strlen(value), NGHTTP2_NV_FLAG_NONE};
}

static inline int is(const uint8_t *bytes, size_t size, const char *text)
{
	return size == strlen(text) && !memcmp(bytes, text, size);
}

/* SETTINGS and the connection's window, the same for both ends. */
static inline void begin_session(nghttp2_session *session)
{
	nghttp2_settings_entry settings[] = {
		{NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, STREAMS_MAX},
		{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW_BYTES},
	};
	if (nghttp2_submit_settings(session, NGHTTP2_FLAG_NONE, settings, 2) ||
	    nghttp2_session_set_local_window_size(session, NGHTTP2_FLAG_NONE, 0, CONNECTION_WINDOW_BYTES)) {
		fprintf(stderr, "nghttp2: out of memory\n");
		exit(1);
	}
}

/* Sends all frames that wait, as few writes as they fit in. Not 0: the connection is unusable. */
static inline int flush(nghttp2_session *session, int fd)
{
	static char out[1 << 18];
	size_t have = 0;
	for (;;) {
		const uint8_t *bytes;
		ssize_t size = nghttp2_session_mem_send(session, &bytes);
		if (size < 0)
			return -1;
		if (have && (size == 0 || have + (size_t)size > sizeof(out))) {
			if (send_all(fd, out, have))
				return -1;
			have = 0;
		}
		if (size == 0)
			return 0;
		memcpy(out + have, bytes, (size_t)size);
		have += (size_t)size;
	}
}

/* Counts gRPC messages in a stream of bytes. */
struct messages {
	uint32_t left;
	unsigned char prefix[GRPC_PREFIX_BYTES], have;
};

/* How many messages end in these bytes. */
static inline size_t messages_in(struct messages *of, const uint8_t *bytes, size_t size)
{
	size_t count = 0;
	while (size) {
		if (of->have < GRPC_PREFIX_BYTES) {
			of->prefix[of->have++] = *bytes++;
			size--;
			of->left = (uint32_t)of->prefix[1] << 24 | (uint32_t)of->prefix[2] << 16 | (uint32_t)of->prefix[3] << 8 | of->prefix[4];
		} else {
			size_t now = size < of->left ? size : of->left;
			of->left -= (uint32_t)now;
			bytes += now;
			size -= now;
		}
		if (of->have == GRPC_PREFIX_BYTES && of->left == 0) {
			of->have = 0;
			count++;
		}
	}
	return count;
}

/* A message of `size` bytes with its prefix; `into` has room for both. */
static inline void put_message(uint8_t *into, size_t size)
{
	uint8_t prefix[GRPC_PREFIX_BYTES] = {0, (uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8), (uint8_t)size};
	memcpy(into, prefix, GRPC_PREFIX_BYTES);
	memset(into + GRPC_PREFIX_BYTES, 'x', size);
}

#endif
