// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * egress: looks at the packets of observed kernel flows whose ends are not in the sockhash; splice.bpf.c sees the messages of those that
 * are. Attached only while a pod of the node asks for it. No packet is changed or dropped.
 */
#define HTTP_OF_PACKET
#include "lib/http.h"
#include <bpf/bpf_endian.h>

#define PASS 1
#define TCP 6

/* The TCP payload of a packet. */
struct payload {
	__u32 offset;
	__u32 size;
	__u32 seq;
};

/* Returns 0 if the packet has none. Packets with IPv6 extension headers, which a pod as root may ask for, are not looked at. */
static __always_inline int payload_of(struct __sk_buff *skb, struct payload *payload)
{
	__u8 ip[10];
	if (bpf_skb_load_bytes(skb, 0, ip, sizeof(ip)))
		return 0;
	__u32 header = ip[0] >> 4 == 4 ? (__u32)(ip[0] & 15) * 4 : 40;
	if ((ip[0] >> 4 == 4 ? ip[9] : ip[6]) != TCP)
		return 0;
	struct {
		__be16 ports[2];
		__be32 seq, ack;
		__u8 words, flags;
	} tcp;
	if (bpf_skb_load_bytes(skb, header, &tcp, 14))
		return 0;
	payload->offset = header + (__u32)(tcp.words >> 4) * 4;
	if (payload->offset >= skb->len)
		return 0;
	payload->size = skb->len - payload->offset;
	payload->seq = bpf_ntohl(tcp.seq);
	return 1;
}

SEC("cgroup_skb/egress")
int weft_observe(struct __sk_buff *skb)
{
	struct bpf_sock *sk = skb->sk;
	if (!sk)
		return PASS;
	sk = bpf_sk_fullsock(sk);
	if (!sk)
		return PASS;
	struct weft_sock *state = bpf_sk_storage_get(&weft_sock, sk, 0, 0);
	if (!state || !(state->flags & WEFT_SOCK_OBSERVED))
		return PASS;
	__u64 id = state->live;
	int side = state->kind == WEFT_SOCK_KERNEL_ACCEPTED;
	struct weft_http *http = bpf_map_lookup_elem(&weft_http, &id);
	if (!http || !http_expects(http, side))
		return PASS;
	struct payload payload;
	if (!payload_of(skb, &payload))
		return PASS;
	struct weft_live *live = bpf_map_lookup_elem(&weft_live, &id);
	/* While the end is in the sockhash, splice.bpf.c has seen this. */
	if (!live || (side ? live->sock[1] : live->sock[0]))
		return PASS;
	/* What TCP sends again was looked at before. */
	__u32 next = side ? http->next[1] : http->next[0];
	if (next && (__s32)(payload.seq - next) < 0)
		return PASS;
	if (side)
		http->next[1] = payload.seq + payload.size;
	else
		http->next[0] = payload.seq + payload.size;
	__u32 most = http_wants(http, side);
	struct http_source source = { .skb = skb,
				      .offset = payload.offset,
				      .size = payload.size < most ? payload.size : most };
	http_message(http, live, side, &source);
	return PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
