// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * sockops: the life of a connection. The handoff record is written before the SYN leaves and removed at establishment or
 * close. For a kernel flow, both ends are entered in the sockhash (splice.bpf.c) and the end of the flow is reported.
 */
#include "lib/flow.h"
#include "lib/http-count.h"
#include "lib/node.h"
#include "lib/verdict.h"

#define TCP_ESTABLISHED 1
#define TCP_FIN_WAIT1 4
#define TCP_CLOSE 7
#define TCP_LAST_ACK 9

/*
 * The handoff record during a takeover. Another build's programs still handle connect(), with their own handoff records and
 * weft_live. This build's sk_lookup already decides about arrivals, by the same verdicts, so it needs a record here. The
 * kernel flow itself stays with the other build's programs.
 */
static __always_inline int handoff_of_takeover(struct weft_note_key *key, struct weft_note *record)
{
	struct target to = { .ip = key->daddr, .port = key->dport };
	struct weft_local *local = allowed(record->source, &to);
	if (!local)
		return 0;
	key->cookie = local->cookie;
	record->kind = WEFT_HANDOFF_VERDICT;
	record->epoch = local->epoch;
	record->live = 0;
	return 1;
}

/*
 * Whether an address belongs to the pod. As root, a pod may bind its sockets to any address. A handoff record under another
 * pod's address would replace that pod's record, and that pod's connection would be joined to this socket.
 */
static __always_inline int own_address(__u64 cookie, const struct weft_ip *ip)
{
	struct weft_pod_addr_key own = { .cookie = cookie, .ip = *ip };
	return bpf_map_lookup_elem(&weft_pod_addr, &own) != 0;
}

enum moment { BEGINS, ENDS };

/*
 * Computes the handoff record of this socket's connection, for the destination's sk_lookup; returns 0 if it needs none.
 * At ENDS the key is the same whatever has happened to the pod meanwhile: a record left behind would let a later connection
 * pass.
 */
static __always_inline int handoff_of(struct bpf_sock_ops *ctx, struct weft_note_key *key, struct weft_note *record,
				      enum moment moment)
{
	record->source = bpf_get_netns_cookie(ctx);
	key->cookie = record->source;
	sockops_tuple(ctx, key, 0);

	if (node_slot(WEFT_NODE_COOKIE) == record->source) {
		struct weft_probe_key probe = { .ip = key->daddr, .port = bpf_ntohs(key->dport) };
		__u64 *pod = bpf_map_lookup_elem(&weft_probe, &probe);
		if (!pod)
			return 0;
		key->cookie = *pod;
		record->kind = WEFT_HANDOFF_PROBE;
		return 1;
	}
	if (moment == BEGINS && !bpf_map_lookup_elem(&weft_pods, &record->source))
		return 0;
	struct bpf_sock *sk = ctx->sk;
	struct weft_sock *state = sk ? bpf_sk_storage_get(&weft_sock, sk, 0, 0) : 0;
	if (node_slot(WEFT_NODE_TAKEOVER) && handoff_of_takeover(key, record))
		return 1;
	if (state && state->kind == WEFT_SOCK_KERNEL) {
		__u64 id = state->live;
		struct weft_live *live = bpf_map_lookup_elem(&weft_live, &id);
		if (!live)
			return 0;
		if (moment == BEGINS && !own_address(record->source, &key->saddr)) {
			/* Without a record the destination treats the connection as plaintext without an identity. */
			state->kind = WEFT_SOCK_NONE;
			state->live = 0;
			flow_remove(id, record->source);
			report_event(WEFT_KERNEL_FOREIGN_SOURCE, record->source, &key->saddr, bpf_ntohs(key->sport),
			     &key->daddr, bpf_ntohs(key->dport));
			return 0;
		}
		key->cookie = live->destination;
		record->kind = WEFT_HANDOFF_VERDICT;
		record->epoch = live->epoch;
		record->live = id;
		return 1;
	}
	if (moment == BEGINS && !own_address(record->source, &key->daddr))
		return 0;
	record->kind = WEFT_HANDOFF_SELF;
	if (state && (state->kind == WEFT_SOCK_CAPTURED || state->kind == WEFT_SOCK_OWN)) {
		record->kind = state->kind == WEFT_SOCK_OWN ? WEFT_HANDOFF_OWN : WEFT_HANDOFF_CAPTURED;
		record->ip = state->ip;
		record->port = state->port;
		record->chosen = state->chosen;
		record->chosen_port = state->chosen_port;
	}
	return 1;
}

static __always_inline void on_connect(struct bpf_sock_ops *ctx)
{
	struct weft_note_key key = {};
	struct weft_note record = {};
	if (!handoff_of(ctx, &key, &record, BEGINS))
		return;
	if (record.kind == WEFT_HANDOFF_VERDICT) {
		struct weft_live *live = bpf_map_lookup_elem(&weft_live, &record.live);
		if (live) {
			live->saddr = key.saddr;
			live->sport = key.sport;
		}
	}
	handoff_write(ctx, &key, &record);
}

static __always_inline int has_flag(__u64 cookie, __u32 flag)
{
	struct weft_pod *pod = bpf_map_lookup_elem(&weft_pods, &cookie);
	return pod && (pod->flags & flag);
}

/*
 * Begins to observe a flow if one of its pods asks for it. Only from the first byte on it is known where a request may begin, so a
 * flow that is open when its pod opts in is not observed.
 */
static __always_inline void observe_flow(struct bpf_sock_ops *ctx, __u64 id, struct weft_live *live, int side)
{
	struct bpf_sock *sk = ctx->sk;
	struct weft_sock *state = sk ? bpf_sk_storage_get(&weft_sock, sk, 0, 0) : 0;
	if (!state)
		return;
	if (!side && (has_flag(live->source, WEFT_POD_OBSERVED) || has_flag(live->destination, WEFT_POD_OBSERVED))) {
		struct weft_http none = {};
		if (bpf_map_update_elem(&weft_http, &id, &none, BPF_ANY))
			count(WEFT_HTTP_LOST);
		else
			__sync_fetch_and_or(&live->flags, WEFT_LIVE_OBSERVED);
	}
	/* Atomic: setsockopt() may mark the socket at the same time. A socket that connects once more may have the mark already. */
	if (live->flags & WEFT_LIVE_OBSERVED)
		__sync_fetch_and_or(&state->flags, WEFT_SOCK_OBSERVED);
	else if (state->flags & WEFT_SOCK_OBSERVED)
		__sync_fetch_and_and(&state->flags, ~WEFT_SOCK_OBSERVED);
}

/* Both pods must have WEFT_POD_SPLICE, the node must allow splicing, and the destination must not exclude the port. */
static __always_inline int may_splice(const struct weft_live *live)
{
	if (!has_flag(live->source, WEFT_POD_SPLICE) || !has_flag(live->destination, WEFT_POD_SPLICE))
		return 0;
	if (!node_slot(WEFT_NODE_SPLICE_MAX))
		return 0;
	struct weft_bypass_port_key off = {
		.cookie = live->destination, .port = bpf_ntohs(live->dport), .direction = WEFT_UNSPLICED
	};
	return !bpf_map_lookup_elem(&weft_bypass_port, &off);
}

/* One end of a kernel flow is established. `side`: 0 for the client's end, 1 for the server's. */
static __always_inline void on_flow_established(struct bpf_sock_ops *ctx, __u64 id, __u32 flags, struct weft_note_key *key,
						int side)
{
	struct weft_live *live = bpf_map_lookup_elem(&weft_live, &id);
	if (!live)
		return;
	live->cookie[side] = bpf_get_socket_cookie(ctx);
	live->base[side] = ctx->snd_nxt;
	__sync_fetch_and_or(&live->flags, side ? WEFT_LIVE_SERVER_OPEN : WEFT_LIVE_CLIENT_OPEN);
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
	observe_flow(ctx, id, live, side);
	if ((flags & WEFT_SOCK_UNSPLICED) || !may_splice(live))
		return;
	if (bpf_sock_hash_update(ctx, &weft_ends, key, BPF_NOEXIST)) {
		count(WEFT_SPLICE_FAILED);
		return;
	}
	struct bpf_sock *sk = ctx->sk;
	if (!sk)
		return;
	/* Written last: sk_msg redirects to an end only if sock[] is set. */
	live->sock[side] = (__u64)bpf_skc_to_tcp_sock(sk);
	__sync_fetch_and_or(&live->flags, WEFT_LIVE_SPLICED);
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_RTT_CB_FLAG);
	count(WEFT_SPLICED);
}

/*
 * TCP acknowledged bytes: a flow with a blocking end is taken out of the sockhash here. Only a flow that never spliced a
 * byte leaves: removal from the sockhash discards the bytes queued in a socket's spliced queue.
 */
static __always_inline void on_round_trip(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct weft_sock *state = sk ? bpf_sk_storage_get(&weft_sock, sk, 0, 0) : 0;
	__u64 id = state ? state->live : 0;
	struct weft_live *live = bpf_map_lookup_elem(&weft_live, &id);
	if (!live)
		return;
	if (!(live->flags & WEFT_LIVE_BLOCKING)) {
		if (live->spliced[0] | live->spliced[1])
			bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags & ~BPF_SOCK_OPS_RTT_CB_FLAG);
		return;
	}
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags & ~BPF_SOCK_OPS_RTT_CB_FLAG);
	if (live->spliced[0] | live->spliced[1])
		return;
	struct weft_note_key client = flow_end_key(live, 0), server = flow_end_key(live, 1);
	bpf_map_delete_elem(&weft_ends, &client);
	bpf_map_delete_elem(&weft_ends, &server);
	live->sock[0] = live->sock[1] = 0;
	count(WEFT_SPLICE_LEFT);
}

static __always_inline void on_established(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct weft_sock *state = sk ? bpf_sk_storage_get(&weft_sock, sk, 0, 0) : 0;
	if (!state || state->kind != WEFT_SOCK_KERNEL)
		return;
	__u64 id = state->live;
	__u32 flags = state->flags;
	struct weft_note_key key = { .cookie = bpf_get_netns_cookie(ctx) };
	sockops_tuple(ctx, &key, 0);
	on_flow_established(ctx, id, flags, &key, 0);
}

/* Copies the true client from the handoff record to the accepted socket's storage, then removes the record. */
static __always_inline void on_accept(struct bpf_sock_ops *ctx)
{
	struct weft_note_key key = { .cookie = bpf_get_netns_cookie(ctx) };
	if (!bpf_map_lookup_elem(&weft_pods, &key.cookie))
		return;
	sockops_tuple(ctx, &key, 1);
	struct weft_note *record = bpf_map_lookup_elem(&weft_notes, &key);
	if (!record)
		return;
	__u64 id = record->live, source = record->source;
	__u32 kind = record->kind, flags = 0;
	int counted = handoff_counts(record);
	if (kind == WEFT_HANDOFF_VERDICT && !id) {
		handoff_remove(&key, source, counted);
		return;
	}
	struct bpf_sock *sk = ctx->sk;
	if ((kind == WEFT_HANDOFF_OWN || kind == WEFT_HANDOFF_VERDICT || kind == WEFT_HANDOFF_CAPTURED) && sk) {
		struct weft_sock *state = bpf_sk_storage_get(&weft_sock, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		if (state) {
			state->ip = record->ip;
			state->port = record->port;
			state->chosen = record->chosen;
			state->chosen_port = record->chosen_port;
			state->live = id;
			flags = state->flags;
			/* The agent reads the dialed address from the storage of its accepted socket. */
			state->kind = kind == WEFT_HANDOFF_CAPTURED ? WEFT_SOCK_DIALED :
				      kind == WEFT_HANDOFF_OWN ? WEFT_SOCK_ACCEPTED :
							      WEFT_SOCK_KERNEL_ACCEPTED;
		}
	}
	handoff_remove(&key, source, counted);
	if (kind == WEFT_HANDOFF_VERDICT) {
		struct weft_note_key own = {
			.cookie = key.cookie, .saddr = key.daddr, .daddr = key.saddr, .sport = key.dport, .dport = key.sport
		};
		on_flow_established(ctx, id, flags, &own, 1);
	}
}

/*
 * Bytes that an end sent over TCP, from its sequence numbers: splice.bpf.c does not see writes that began before
 * establishment, and also counts writes that failed. Sequence numbers wrap at 4 GiB; bytes_acked is close enough to select
 * the right multiple.
 */
static __always_inline __u64 by_tcp(struct bpf_sock_ops *ctx, const struct weft_live *live, int side)
{
	__u32 open = side ? WEFT_LIVE_SERVER_OPEN : WEFT_LIVE_CLIENT_OPEN;
	__u32 fin = side ? WEFT_LIVE_SERVER_FIN : WEFT_LIVE_CLIENT_FIN;
	if (!(live->flags & open))
		return 0;
	__u32 sent = ctx->snd_nxt - live->base[side];
	if (sent && (live->flags & fin))
		sent--;
	__u64 acked = ctx->bytes_acked;
	return acked + (__s64)(__s32)(sent - (__u32)acked);
}

/* The TCP state of one end of a kernel flow changed. The flow ends when every end that was open is closed. */
static __always_inline void on_flow_state(struct bpf_sock_ops *ctx, const struct weft_sock *state)
{
	__u64 id = state->live;
	int side = state->kind == WEFT_SOCK_KERNEL_ACCEPTED;
	struct weft_live *live = bpf_map_lookup_elem(&weft_live, &id);
	if (!live)
		return;
	if (ctx->args[0] == TCP_ESTABLISHED)
		__sync_fetch_and_or(&live->flags, WEFT_LIVE_LEAVING);
	if (ctx->args[1] == TCP_FIN_WAIT1 || ctx->args[1] == TCP_LAST_ACK)
		__sync_fetch_and_or(&live->flags, side ? WEFT_LIVE_SERVER_FIN : WEFT_LIVE_CLIENT_FIN);
	if (ctx->args[1] != TCP_CLOSE)
		return;
	__u32 closed = side ? WEFT_LIVE_SERVER_CLOSED : WEFT_LIVE_CLIENT_CLOSED;
	if (live->flags & closed)
		return;
	live->bytes[side] = live->spliced[side] + by_tcp(ctx, live, side);
	live->sock[side] = 0;
	__u32 before = __sync_fetch_and_or(&live->flags, closed);
	__u32 flags = before | closed;
	/* If both ends close at once, only one of them sees both marks. */
	if ((flags & WEFT_LIVE_CLIENT_CLOSED) &&
	    ((flags & WEFT_LIVE_SERVER_CLOSED) || !(flags & WEFT_LIVE_SERVER_OPEN))) {
		flow_report_end(live);
		if (live->flags & WEFT_LIVE_OBSERVED)
			http_end(id, live);
		flow_remove(id, live->source);
	}
}

static __always_inline void on_state(struct bpf_sock_ops *ctx)
{
	struct bpf_sock *sk = ctx->sk;
	struct weft_sock *state = sk ? bpf_sk_storage_get(&weft_sock, sk, 0, 0) : 0;
	if (ctx->args[1] == TCP_CLOSE) {
		struct weft_note_key key = {};
		struct weft_note record = {};
		if (handoff_of(ctx, &key, &record, ENDS))
			handoff_remove(&key, record.source, handoff_counts(&record));
	}
	if (state && (state->kind == WEFT_SOCK_KERNEL || state->kind == WEFT_SOCK_KERNEL_ACCEPTED))
		on_flow_state(ctx, state);
}

SEC("sockops")
int weft_sockops(struct bpf_sock_ops *ctx)
{
	switch (ctx->op) {
	case BPF_SOCK_OPS_TCP_CONNECT_CB:
		on_connect(ctx);
		break;
	case BPF_SOCK_OPS_ACTIVE_ESTABLISHED_CB:
		on_established(ctx);
		break;
	case BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB:
		on_accept(ctx);
		break;
	case BPF_SOCK_OPS_RTT_CB:
		on_round_trip(ctx);
		break;
	case BPF_SOCK_OPS_STATE_CB:
		on_state(ctx);
		break;
	}
	return 1;
}

/*
 * A socket that was entered in weft_live at connect() and never sent a SYN has no state change. Its entry is removed when the
 * application closes the socket.
 */
SEC("cgroup/sock_release")
int weft_sock_release(struct bpf_sock *ctx)
{
	__u64 id = bpf_get_socket_cookie(ctx);
	struct weft_live *live = bpf_map_lookup_elem(&weft_live, &id);
	if (live && live->sport == 0)
		flow_remove(id, live->source);
	return 1;
}

/*
 * Never read. clang emits BTF only for types that a variable uses. The layout test needs all of them, and so does a later
 * build that reads the maps this one left (this object creates the maps).
 */
const volatile struct {
	struct weft_event event;
	struct weft_flow flow;
	enum weft_port port;
	enum weft_pod_flag pod_flag;
	enum weft_direction direction;
	enum weft_listener listener;
	enum weft_sock_kind sock_kind;
	enum weft_sock_flag sock_flag;
	enum weft_handoff_kind handoff_kind;
	enum weft_local_flag local_flag;
	enum weft_live_flag live_flag;
	enum weft_service_flag service_flag;
	enum weft_affinity_size affinity_size;
	enum weft_node_slot node_slot;
	enum weft_action action;
	enum weft_reason reason;
	enum weft_method method;
	enum weft_latency_us latency_us;
} weft_layout = {};

char _license[] SEC("license") = "Dual BSD/GPL";
