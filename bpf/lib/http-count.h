/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* weft_requests: counts the exchanges of observed kernel flows (http.h). */
#ifndef WEFT_HTTP_COUNT_H
#define WEFT_HTTP_COUNT_H

#include "count.h"
#include "share.h"

enum http_state {
	HTTP_IDLE = 0, /* nothing was sent yet: the client's first bytes must be a request */
	HTTP_AWAITING = 1, /* a request began; its response did not */
	HTTP_RESPONDING = 2, /* a response began: the client's next bytes may be a request, the rest of a body, or anything */
	HTTP_IGNORED = 3, /* not HTTP/1.1, or not recognized for sure: not looked at any more */
};

/* Index of weft_requests.latency. */
static __always_inline __u32 latency_index(__u64 ns)
{
	__u64 us = ns / 1000;
	if (us >= WEFT_LATENCY_US_14)
		return us == WEFT_LATENCY_US_14 ? 14 : 15;
	return (us > WEFT_LATENCY_US_0) + (us > WEFT_LATENCY_US_1) + (us > WEFT_LATENCY_US_2) + (us > WEFT_LATENCY_US_3) +
	       (us > WEFT_LATENCY_US_4) + (us > WEFT_LATENCY_US_5) + (us > WEFT_LATENCY_US_6) + (us > WEFT_LATENCY_US_7) +
	       (us > WEFT_LATENCY_US_8) + (us > WEFT_LATENCY_US_9) + (us > WEFT_LATENCY_US_10) + (us > WEFT_LATENCY_US_11) +
	       (us > WEFT_LATENCY_US_12) + (us > WEFT_LATENCY_US_13);
}

/*
 * Whether the flow's source may make one more entry: a pod that makes up paths uses up no entries of others, however long the agent takes
 * none out. A pod may have as many entries as are left (FairLimit of src/base/fair-limit.ts): many such pods leave some to others, too.
 */
static __always_inline int share_take_requests(__u64 cookie, __u32 max, __u32 max_of_all)
{
	__u32 slot = WEFT_NODE_REQUESTS;
	__u64 *made = bpf_map_lookup_elem(&weft_node, &slot);
	struct weft_share *share = share_of(cookie);
	if (!made || !share)
		return 0;
	__u64 now = *(volatile __u64 *)made;
	__u32 turn = now >> 32;
	__u32 used = now;
	__u32 left = used < max_of_all ? max_of_all - used : 0;
	/* At the start of a turn, two CPUs that race here may make a few more. */
	if (share->requests_turn != turn) {
		share->requests_turn = turn;
		share->requests = 0;
	}
	if (!share_take(&share->requests, left < max ? left : max))
		return 0;
	__sync_fetch_and_add(made, 1);
	return 1;
}

static __always_inline struct weft_requests *requests_of(const struct weft_request_key *key, __u32 max, __u32 max_of_all)
{
	struct weft_requests *sum = bpf_map_lookup_elem(&weft_requests, key);
	if (sum || !share_take_requests(key->source, max, max_of_all))
		return sum;
	struct weft_requests none = {};
	bpf_map_update_elem(&weft_requests, key, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&weft_requests, key);
}

/* `status` 0: the flow ended before the response. */
static __always_inline void http_count(const struct weft_http *http, const struct weft_live *live, __u16 status)
{
	struct weft_request_key key = {
		.source = live->source,
		.destination = live->destination,
		.dialled = live->dialled,
		.dport = live->dport,
		.dialled_port = live->dialled_port,
		.method = http->method,
		.status = status,
	};
	__builtin_memcpy(key.template, http->template, sizeof(key.template));
	__u64 ns = bpf_ktime_get_ns() - http->began;
	struct weft_requests *sum = requests_of(&key, WEFT_SHARE_REQUESTS, WEFT_REQUESTS_BY_PATH);
	if (!sum) {
		count(WEFT_HTTP_SHARE);
		__builtin_memset(key.template, 0, sizeof(key.template));
		sum = requests_of(&key, WEFT_SHARE_REQUESTS + WEFT_SHARE_REQUESTS_OTHER, WEFT_REQUESTS_IN_ALL);
	}
	if (!sum) {
		count(WEFT_HTTP_LOST);
		return;
	}
	__sync_fetch_and_add(&sum->count, 1);
	__sync_fetch_and_add(&sum->sum, ns);
	__sync_fetch_and_add(&sum->latency[latency_index(ns) & 15], 1);
}

/* An observed flow ended. */
static __always_inline void http_end(__u64 id, const struct weft_live *live)
{
	struct weft_http *http = bpf_map_lookup_elem(&weft_http, &id);
	if (!http)
		return;
	if (http->state == HTTP_AWAITING)
		http_count(http, live, 0);
	bpf_map_delete_elem(&weft_http, &id);
}

#endif
