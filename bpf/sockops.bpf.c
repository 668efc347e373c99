// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* The life of a connection's note: written before the SYN leaves, gone at establishment or close. */
#include "lib/notes.h"

#define TCP_CLOSE 7

/* What the destination's sk_lookup shall know of the connection that this socket begins; 0 for nothing. */
static __always_inline int describe(struct bpf_sock_ops *ctx, struct weft_note_key *key, struct weft_note *note)
{
	__u32 zero = 0;
	__u64 *node = bpf_map_lookup_elem(&weft_node, &zero);
	note->source = bpf_get_netns_cookie(ctx);
	key->cookie = note->source;
	sockops_tuple(ctx, key, 0);

	if (node && *node == note->source) {
		struct weft_probe_key probe = { .ip = key->daddr, .port = bpf_ntohs(key->dport) };
		__u64 *pod = bpf_map_lookup_elem(&weft_probe, &probe);
		if (!pod)
			return 0;
		key->cookie = *pod;
		note->kind = WEFT_NOTE_PROBE;
		return 1;
	}
	if (!bpf_map_lookup_elem(&weft_pods, &note->source))
		return 0;
	struct weft_pod_addr_key own = { .cookie = note->source, .ip = key->daddr };
	if (!bpf_map_lookup_elem(&weft_pod_addr, &own))
		return 0;

	struct bpf_sock *sk = ctx->sk;
	struct weft_sock *state = sk ? bpf_sk_storage_get(&weft_sock, sk, 0, 0) : 0;
	note->kind = WEFT_NOTE_SELF;
	if (state && (state->kind == WEFT_SOCK_CAPTURED || state->kind == WEFT_SOCK_OWN)) {
		note->kind = state->kind == WEFT_SOCK_OWN ? WEFT_NOTE_OWN : WEFT_NOTE_CAPTURED;
		note->ip = state->ip;
		note->port = state->port;
	}
	return 1;
}

static __always_inline void on_connect(struct bpf_sock_ops *ctx)
{
	struct weft_note_key key = {};
	struct weft_note note = {};
	if (describe(ctx, &key, &note))
		note_write(ctx, &key, &note);
}

/* The application's accepted socket learns its true client, then the note has done its work. */
static __always_inline void on_accept(struct bpf_sock_ops *ctx)
{
	struct weft_note_key key = { .cookie = bpf_get_netns_cookie(ctx) };
	if (!bpf_map_lookup_elem(&weft_pods, &key.cookie))
		return;
	sockops_tuple(ctx, &key, 1);
	struct weft_note *note = bpf_map_lookup_elem(&weft_notes, &key);
	/* The agent takes a captured connection's note itself: it names what was dialled. */
	if (!note || note->kind == WEFT_NOTE_CAPTURED)
		return;
	struct bpf_sock *sk = ctx->sk;
	if (note->kind == WEFT_NOTE_OWN && sk) {
		struct weft_sock *state = bpf_sk_storage_get(&weft_sock, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (state) {
			state->ip = note->ip;
			state->port = note->port;
			state->kind = WEFT_SOCK_ACCEPTED;
		}
	}
	bpf_map_delete_elem(&weft_notes, &key);
}

static __always_inline void on_close(struct bpf_sock_ops *ctx)
{
	struct weft_note_key key = {};
	struct weft_note note = {};
	if (describe(ctx, &key, &note))
		bpf_map_delete_elem(&weft_notes, &key);
}

SEC("sockops")
int weft_sockops(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		on_connect(ctx);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		on_accept(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		if (ctx->args[1] == TCP_CLOSE)
			on_close(ctx);
		break;
	}
	return 1;
}

char _license[] SEC("license") = "Dual BSD/GPL";
