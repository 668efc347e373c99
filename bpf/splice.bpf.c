// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * sk_msg: what one end of a carried connection writes goes straight to the other's receive queue. The queue has no
 * back-pressure of its own, so it is used only while little waits in it; beyond that the bytes go by TCP, which has.
 */
#include "lib/event.h"
#include <bpf/bpf_core_read.h>

/* As the kernel has them; CO-RE finds the fields. */
struct sock___w {
	struct {
		struct {
			int counter;
		} rmem_alloc;
	} sk_backlog;
} __attribute__((preserve_access_index));

struct tcp_sock___w {
	__u32 write_seq;
	__u32 copied_seq;
} __attribute__((preserve_access_index));

/* Writes that began before the connection was established went by TCP, past this program: they are in its sequence. */
static __always_inline void count_written(struct weft_live *live, int side, __u64 own, __u64 size)
{
	__u32 seen = side ? WEFT_LIVE_SERVER_SEEN : WEFT_LIVE_CLIENT_SEEN;
	if (!(live->flags & seen)) {
		__u32 base = side ? live->base[1] : live->base[0];
		__sync_fetch_and_or(&live->flags, seen);
		if (own)
			size += BPF_CORE_READ((struct tcp_sock___w *)own, write_seq) - base;
	}
	if (side)
		__sync_fetch_and_add(&live->bytes[1], size);
	else
		__sync_fetch_and_add(&live->bytes[0], size);
}

static __always_inline __u64 slot(__u32 index)
{
	__u64 *value = bpf_map_lookup_elem(&weft_node, &index);
	return value ? *value : 0;
}

/* Bytes that may wait for this reader: its own limit, or its share of the node's. */
static __always_inline __u64 limit(void)
{
	__u64 one = slot(WEFT_NODE_SPLICE_MAX), all = slot(WEFT_NODE_SPLICE_ALL_MAX), ends = slot(WEFT_NODE_SPLICED);
	__u64 share = ends ? all / ends : all;
	return share < one ? share : one;
}

SEC("sk_msg")
int weft_splice(struct sk_msg_md *msg)
{
	struct bpf_sock *sk = msg->sk;
	struct weft_sock *state = sk ? bpf_sk_storage_get(&weft_sock, sk, 0, 0) : 0;
	if (!state)
		return SK_PASS;
	__u64 id = state->live;
	struct weft_live *live = bpf_map_lookup_elem(&weft_live, &id);
	if (!live)
		return SK_PASS;
	int side = state->kind == WEFT_SOCK_KERNEL_ACCEPTED;
	__u64 size = msg->size;
	struct weft_note_key to = {};
	__u64 own, peer;
	if (side) {
		own = live->sock[1];
		peer = live->sock[0];
		to.cookie = live->source;
		to.saddr = live->saddr;
		to.sport = live->sport;
		to.daddr = live->daddr;
		to.dport = live->dport;
	} else {
		own = live->sock[0];
		peer = live->sock[1];
		to.cookie = live->destination;
		to.saddr = live->daddr;
		to.sport = live->dport;
		to.daddr = live->saddr;
		to.dport = live->sport;
	}
	count_written(live, side, own, size);
	if (!own || !peer || (live->flags & WEFT_LIVE_LEAVING))
		return SK_PASS;
	/* The reader empties its spliced queue before its TCP queue: nothing may overtake bytes that went by TCP. */
	__u32 sent = BPF_CORE_READ((struct tcp_sock___w *)own, write_seq);
	__u32 read = BPF_CORE_READ((struct tcp_sock___w *)peer, copied_seq);
	if (sent != read)
		return SK_PASS;
	__u64 waiting = BPF_CORE_READ((struct sock___w *)peer, sk_backlog.rmem_alloc.counter);
	if (waiting + size > limit()) {
		if (!(live->flags & WEFT_LIVE_OVERFLOWED)) {
			__sync_fetch_and_or(&live->flags, WEFT_LIVE_OVERFLOWED);
			count(WEFT_SPLICE_OVERFLOWED);
		}
		return SK_PASS;
	}
	/* An end that is gone is not found, and without a redirect SK_PASS is TCP. */
	if (bpf_msg_redirect_hash(msg, &weft_ends, &to, BPF_F_INGRESS) == SK_PASS) {
		if (side)
			__sync_fetch_and_add(&live->spliced[1], size);
		else
			__sync_fetch_and_add(&live->spliced[0], size);
	}
	return SK_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
