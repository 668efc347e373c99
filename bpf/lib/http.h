/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Recognizes HTTP/1.1 requests and responses of observed kernel flows by the first bytes of messages: a request only where none is
 * outstanding, a response only where one is. Only the method, the status and the template of the path are kept. What is not recognized
 * for sure ends the observation of the flow (docs/observe.md). The reader of bytes is the including program's, http_read().
 */
#ifndef WEFT_HTTP_H
#define WEFT_HTTP_H

#include "http-count.h"

/* Bytes of a message that are looked at, at most. */
#define HTTP_HEAD_MAX 512
/* "GET / HTTP/1.1" and CR LF */
#define HTTP_REQUEST_MIN 16
#define HTTP_CHUNK 64
/* Longer segments of a path are identifiers; segments after the eighth are left out. Unlike in src/telemetry/path-template.ts, names with dots
 * are identifiers too if they are longer. */
#define HTTP_SEGMENT_MAX 32
#define HTTP_SEGMENTS_MAX 8
/* Each write leaves room for a final "**". */
#define HTTP_TEMPLATE_ROOM (WEFT_TEMPLATE_MAX - 2)

struct http_source {
	void *skb; /* egress: the packet, whose payload begins at `offset` */
	__u64 data; /* sk_msg: the message's first byte */
	__u32 offset;
	__u32 size; /* of what may be read */
};

/* Reads `length` bytes at `at`; 0 if it succeeds. */
static __always_inline long http_read(const struct http_source *source, __u32 at, void *to, __u32 length)
{
#ifdef HTTP_OF_PACKET
	return bpf_skb_load_bytes(source->skb, source->offset + at, to, length);
#else
	return bpf_probe_read_kernel(to, length, (const void *)(source->data + at));
#endif
}

/* Whether a head may begin with what this end sends next. Only then a message is read. */
static __always_inline int http_expects(const struct weft_http *http, int side)
{
	return side ? http->state <= HTTP_AWAITING : http->state != HTTP_IGNORED;
}

/* How much of it is read: a request line, or what tells that something is a request or a status line. */
static __always_inline __u32 http_wants(const struct weft_http *http, int side)
{
	return side || http->state == HTTP_AWAITING ? HTTP_REQUEST_MIN : HTTP_HEAD_MAX;
}

static __always_inline void http_ignore(struct weft_http *http)
{
	http->state = HTTP_IGNORED;
	count(WEFT_HTTP_NOT_RECOGNIZED);
}

struct http_method {
	__u32 method; /* enum weft_method; WEFT_METHOD_OTHER: none of them */
	__u32 length; /* with the space */
};

/* Without a call of memcmp(), which clang makes of __builtin_memcmp() for some lengths. */
static __always_inline int begins_with(const __u8 *bytes, const char *text, __u32 length)
{
	int differs = 0;
#pragma unroll
	for (__u32 i = 0; i < length; i++)
		differs |= bytes[i] ^ text[i];
	return !differs;
}

#define IS(text) begins_with(bytes, text, sizeof(text) - 1)
static __always_inline struct http_method http_method_of(const __u8 *bytes)
{
	if (IS("GET "))
		return (struct http_method){ WEFT_METHOD_GET, 4 };
	if (IS("POST "))
		return (struct http_method){ WEFT_METHOD_POST, 5 };
	if (IS("HEAD "))
		return (struct http_method){ WEFT_METHOD_HEAD, 5 };
	if (IS("PUT "))
		return (struct http_method){ WEFT_METHOD_PUT, 4 };
	if (IS("PATCH "))
		return (struct http_method){ WEFT_METHOD_PATCH, 6 };
	if (IS("DELETE "))
		return (struct http_method){ WEFT_METHOD_DELETE, 7 };
	if (IS("OPTIONS "))
		return (struct http_method){ WEFT_METHOD_OPTIONS, 8 };
	if (IS("TRACE "))
		return (struct http_method){ WEFT_METHOD_TRACE, 6 };
	if (IS("CONNECT "))
		return (struct http_method){ WEFT_METHOD_CONNECT, 8 };
	return (struct http_method){};
}
#undef IS

enum http_scan_state { SCAN_PATH = 0, SCAN_QUERY = 1, SCAN_ENDED = 2 };

/* The scan of a request's target, byte by byte. On the stack: no byte of a path is in any map but those of its template. */
struct http_scan {
	struct http_source source;
	__u32 begin; /* of the target, in the source */
	__u32 state; /* enum http_scan_state */
	__u32 end; /* the offset of the space behind the target */
	__u32 at; /* length of the template */
	__u32 segment; /* where the current segment begins in the template */
	__u32 segments;
	__u32 chars, digits; /* of the current segment */
	__u32 not_hex, not_plain;
	__u8 chunk[HTTP_CHUNK];
	__u8 template[WEFT_TEMPLATE_MAX];
};

static __always_inline void scan_put(struct http_scan *scan, __u8 c)
{
	__u32 at = scan->at;
	if (at < WEFT_TEMPLATE_MAX)
		scan->template[at] = c;
	scan->at = at + 1;
}

/* Whatever follows is left out of the template. */
static __always_inline void scan_cut(struct http_scan *scan)
{
	scan->at = scan->segment;
	scan_put(scan, '*');
	scan_put(scan, '*');
	scan->state = SCAN_QUERY;
}

/* A segment is complete: one that looks like an identifier becomes `*`, by the rule of path-template.ts. */
static __always_inline void scan_segment(struct http_scan *scan)
{
	if (scan->not_plain || scan->chars > HTTP_SEGMENT_MAX || scan->digits >= 3 ||
	    (scan->chars && scan->digits == scan->chars) || (scan->chars >= 8 && !scan->not_hex)) {
		scan->at = scan->segment;
		scan_put(scan, '*');
	}
	scan->chars = scan->digits = scan->not_hex = scan->not_plain = 0;
}

static __always_inline int between(__u8 c, __u8 from, __u8 to)
{
	return c >= from && c <= to;
}

static long scan_byte(__u32 i, struct http_scan *scan)
{
	__u32 left = scan->source.size - scan->begin - i;
	if ((i & (HTTP_CHUNK - 1)) == 0) {
		if (left == 0)
			return 1;
		/* Linux 6.1 does not learn from a comparison with 0 that a length is positive: it sees the bounds of a mask and a sum. */
		__u32 last = (left < HTTP_CHUNK ? left : HTTP_CHUNK) - 1;
		barrier_var(last);
		last &= HTTP_CHUNK - 1;
		if (http_read(&scan->source, scan->begin + i, scan->chunk, last + 1))
			return 1;
	}
	__u8 c = scan->chunk[i & (HTTP_CHUNK - 1)];
	if (c == ' ') {
		if (scan->state == SCAN_PATH)
			scan_segment(scan);
		scan->state = SCAN_ENDED;
		scan->end = scan->begin + i;
		return 1;
	}
	/* No request line has these. */
	if (c < 0x20 || c == 0x7f)
		return 1;
	if (scan->state != SCAN_PATH)
		return 0;
	if (i == 0 && c != '/') {
		scan_cut(scan);
		return 0;
	}
	if (c == '?' || c == '#' || c == ';') {
		scan_segment(scan);
		scan->state = SCAN_QUERY;
		return 0;
	}
	if (c == '/') {
		if (i > 0)
			scan_segment(scan);
		if (scan->at >= HTTP_TEMPLATE_ROOM) {
			scan_cut(scan);
			return 0;
		}
		scan_put(scan, '/');
		scan->segment = scan->at;
		if (scan->segments++ >= HTTP_SEGMENTS_MAX)
			scan_cut(scan);
		return 0;
	}
	int digit = between(c, '0', '9');
	int letter = between(c | 0x20, 'a', 'z');
	scan->chars++;
	scan->digits += digit;
	if (!digit && !between(c | 0x20, 'a', 'f'))
		scan->not_hex = 1;
	if (!digit && !letter && c != '.' && c != '_' && c != ':' && c != '-')
		scan->not_plain = 1;
	/* Of a segment that will be `*` nothing needs to be kept. */
	if (scan->not_plain || scan->chars > HTTP_SEGMENT_MAX)
		return 0;
	if (scan->at < HTTP_TEMPLATE_ROOM)
		scan_put(scan, c);
	else
		scan_cut(scan);
	return 0;
}

/* Reads the request line into `http`; 0 if it is none, or longer than HTTP_HEAD_MAX. */
static __always_inline int http_request(struct weft_http *http, const struct http_source *source, struct http_method method)
{
	struct http_scan scan = { .source = *source, .begin = method.length };
	/* " HTTP/1.x" behind the target */
	if (source->size < HTTP_REQUEST_MIN || source->size > HTTP_HEAD_MAX)
		return 0;
	bpf_loop(source->size - method.length, scan_byte, &scan, 0);
	if (scan.state != SCAN_ENDED || scan.end + 9 > source->size)
		return 0;
	__u8 version[9];
	if (http_read(source, scan.end, version, sizeof(version)) || !begins_with(version, " HTTP/1.", 8))
		return 0;
	__u32 length = scan.at;
	for (__u32 i = 0; i < WEFT_TEMPLATE_MAX; i++)
		http->template[i] = i < length ? scan.template[i] : 0;
	http->method = method.method;
	return 1;
}

static __always_inline void http_from_client(struct weft_http *http, const struct http_source *source)
{
	__u8 bytes[8];
	struct http_method method = {};
	if (source->size >= HTTP_REQUEST_MIN && !http_read(source, 0, bytes, sizeof(bytes)))
		method = http_method_of(bytes);
	if (http->state == HTTP_AWAITING) {
		/* The rest of the request; or the next one, whose response could not be told from the rest of the first response. */
		if (method.length)
			http_ignore(http);
		return;
	}
	if (method.length && method.method != WEFT_METHOD_CONNECT && http_request(http, source, method)) {
		http->began = bpf_ktime_get_ns();
		http->state = HTTP_AWAITING;
		return;
	}
	/* After a response began, this may be the rest of its request's body. */
	if (http->state == HTTP_IDLE || method.method == WEFT_METHOD_CONNECT)
		http_ignore(http);
}

static __always_inline void http_from_server(struct weft_http *http, const struct weft_live *live,
					     const struct http_source *source)
{
	/* "HTTP/1.1 200" */
	__u8 bytes[12];
	__u32 status = 0;
	if (http->state == HTTP_AWAITING && source->size >= sizeof(bytes) && !http_read(source, 0, bytes, sizeof(bytes)) &&
	    begins_with(bytes, "HTTP/1.", 7) && bytes[8] == ' ' && between(bytes[9], '1', '5') &&
	    between(bytes[10], '0', '9') && between(bytes[11], '0', '9'))
		status = (bytes[9] - '0') * 100 + (bytes[10] - '0') * 10 + bytes[11] - '0';
	/* 1xx: the response follows. */
	if (status >= 100 && status < 200 && status != 101)
		return;
	if (status)
		http_count(http, live, status);
	if (!status || status == 101)
		http_ignore(http);
	else
		http->state = HTTP_RESPONDING;
}

static __always_inline void http_message(struct weft_http *http, const struct weft_live *live, int side,
					 const struct http_source *source)
{
	if (side)
		http_from_server(http, live, source);
	else
		http_from_client(http, source);
}

#endif
