// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * connect(): decides which connections of enrolled pods go to the agent.
 * getpeername() (accept() runs the same hook): shows the application the address it dialed, or the true client.
 */
#include "lib/flow.h"
#include "lib/verdict.h"

#define ECONNREFUSED 111
#define ENETUNREACH 101
#define EPROTONOSUPPORT 93
#define IPPROTO_MPTCP 262
#define SOCK_STREAM 1
#define IPPROTO_TCP 6

enum outcome { LEAVE, REDIRECT, KERNEL, REFUSE };

static __always_inline int listens(__u64 cookie, __u32 listener)
{
	struct weft_listener_key key = { .cookie = cookie, .listener = listener };
	struct bpf_sock *sk = bpf_map_lookup_elem(&weft_listeners, &key);
	if (!sk)
		return 0;
	bpf_sk_release(sk);
	return 1;
}

static __always_inline int excluded(__u64 cookie, const struct weft_ip *ip, __be16 port)
{
	struct weft_bypass_port_key by_port = {
		.cookie = cookie, .port = bpf_ntohs(port), .direction = WEFT_OUTBOUND
	};
	if (bpf_map_lookup_elem(&weft_bypass_port, &by_port))
		return 1;
	struct weft_bypass_ip_key by_ip = { .prefix_length = 192, .ip = *ip };
	__builtin_memcpy(by_ip.cookie, &cookie, 8);
	return bpf_map_lookup_elem(&weft_bypass_ip, &by_ip) != 0;
}

static __always_inline enum outcome leave(struct bpf_sock *sk, __u32 reason)
{
	/* A socket that connects again after AF_UNSPEC must not keep its former destination. */
	struct weft_sock *state = sk ? bpf_sk_storage_get(&weft_sock, sk, 0, 0) : 0;
	if (state)
		state->kind = WEFT_SOCK_NONE;
	count(reason);
	return LEAVE;
}

static __always_inline enum outcome refuse(__u32 reason, __u64 cookie, const struct weft_ip *ip, __be16 port,
					   int error)
{
	struct weft_ip none = {};
	report_event(reason, cookie, &none, 0, ip, bpf_ntohs(port));
	bpf_set_retval(-error);
	return REFUSE;
}

/*
 * Begins a kernel flow if a verdict allows it. The flow is entered in weft_live before anything else happens, so no policy
 * change can miss it. If the socket never sends a SYN, its entry is removed when it is closed (sockops.bpf.c).
 */
static __always_inline int begin_kernel_flow(struct bpf_sock_addr *ctx, struct weft_sock *state, __u64 source,
					     const struct target *to)
{
	struct weft_local *local = allowed(source, to);
	if (!local)
		return 0;
	__u64 id = bpf_get_socket_cookie(ctx);
	struct weft_live live = {
		.source = source,
		.destination = local->cookie,
		.epoch = local->epoch,
		.started = bpf_ktime_get_ns(),
		.cookie = { id },
		.daddr = to->ip,
		.dialled = state->ip,
		.dport = to->port,
		.dialled_port = state->port,
	};
	struct weft_share *share = share_of(source);
	if (!share || !share_take(&share->live, WEFT_SHARE_LIVE)) {
		count(WEFT_KERNEL_LIVE_SHARE);
		return 0;
	}
	long error = bpf_map_update_elem(&weft_live, &id, &live, BPF_NOEXIST);
	if (error)
		__sync_fetch_and_sub(&share->live, 1);
	/*
	 * The same socket failed to connect before, or was disconnected: its entry is already counted. What was observed of the former
	 * flow goes now, for the end of this one may not remove it.
	 */
	if (error == -EEXIST) {
		error = bpf_map_update_elem(&weft_live, &id, &live, BPF_EXIST);
		bpf_map_delete_elem(&weft_http, &id);
	}
	if (error) {
		count(WEFT_KERNEL_LIVE_FULL);
		return 0;
	}
	state->live = id;
	state->kind = WEFT_SOCK_KERNEL;
	count(WEFT_KERNEL_ALLOWED);
	return 1;
}

/* Whether a socket is bound to an address that is not its pod's: as root, a pod may bind to any address. */
static __always_inline int bound_elsewhere(__u64 cookie, const struct weft_ip *bound)
{
	if (ip_is_zero(bound) || (ip_is_v4(bound) && ip_word(bound, 3) == 0))
		return 0;
	struct weft_pod_addr_key own = { .cookie = cookie, .ip = *bound };
	if (bpf_map_lookup_elem(&weft_pod_addr, &own))
		return 0;
	count(WEFT_KERNEL_FOREIGN_SOURCE);
	return 1;
}

/*
 * Decides for one connect(). On REDIRECT `to` is the agent's listener, on KERNEL the destination itself. `bound`: the address
 * that the socket is bound to, zero for any.
 */
static __always_inline enum outcome decide(struct bpf_sock_addr *ctx, const struct weft_ip *ip,
					   const struct weft_ip *bound, struct target *to)
{
	__u64 cookie = bpf_get_netns_cookie(ctx);
	struct weft_pod *pod = bpf_map_lookup_elem(&weft_pods, &cookie);
	struct bpf_sock *sk = ctx->sk;
	__be16 port = (__be16)ctx->user_port;

	if (!pod || !(pod->flags & WEFT_POD_CAPTURE))
		return LEAVE;
	if (ctx->type != SOCK_STREAM || (ctx->protocol != IPPROTO_TCP && ctx->protocol != IPPROTO_MPTCP))
		return LEAVE;
	if (!sk)
		return refuse(WEFT_REFUSED_STORAGE, cookie, ip, port, ECONNREFUSED);
	struct weft_sock *state = bpf_sk_storage_get(&weft_sock, sk, 0, 0);
	if (state && state->kind == WEFT_SOCK_OWN)
		return LEAVE;

	struct weft_pod_addr_key own = { .cookie = cookie, .ip = *ip };
	if (ip_is_loopback(ip) || bpf_map_lookup_elem(&weft_pod_addr, &own))
		return leave(sk, WEFT_LEFT_OWN_ADDRESS);
	if (excluded(cookie, ip, port))
		return leave(sk, WEFT_LEFT_EXCLUDED);

	state = bpf_sk_storage_get(&weft_sock, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (!state)
		return refuse(WEFT_REFUSED_STORAGE, cookie, ip, port, ECONNREFUSED);
	state->kind = WEFT_SOCK_NONE;
	state->ip = *ip;
	state->port = port;
	state->live = 0;
	to->ip = *ip;
	to->port = port;
	to->picked = 0;
	const struct weft_ip *client = ip_is_v4(ip) ? &pod->ip4 : &pod->ip6;
	/* A socket bound to a foreign address goes to the agent, which connects from the pod's own address. */
	if ((pod->flags & WEFT_POD_KERNEL) && pick_endpoint(to, client) && !bound_elsewhere(cookie, bound) &&
	    begin_kernel_flow(ctx, state, cookie, to))
		return KERNEL;

	if (!listens(cookie, WEFT_LISTENER_OUTBOUND)) {
		if (pod->flags & WEFT_POD_PLAINTEXT_WITHOUT_AGENT)
			return leave(sk, WEFT_LEFT_NO_AGENT);
		return refuse(WEFT_REFUSED_NO_AGENT, cookie, ip, port, ECONNREFUSED);
	}
	struct weft_negative_key failed = { .cookie = cookie, .ip = *ip, .port = port };
	__u64 *until = bpf_map_lookup_elem(&weft_negative, &failed);
	if (until && bpf_ktime_get_ns() < *until)
		return refuse(WEFT_REFUSED_NEGATIVE, cookie, ip, port, ECONNREFUSED);
	/* The handoff record passes the picked endpoint to the agent: a second choice there would shift the balance. */
	state->chosen_port = to->picked ? to->port : 0;
	state->chosen = to->ip;
	to->ip = ip_is_v4(ip) ? pod->ip4 : pod->ip6;
	if (ip_is_zero(&to->ip))
		return refuse(WEFT_REFUSED_NO_FAMILY, cookie, ip, port, ENETUNREACH);
	to->port = bpf_htons(WEFT_PORT_OUTBOUND);
	state->kind = WEFT_SOCK_CAPTURED;
	count(WEFT_CAPTURED);
	return REDIRECT;
}

SEC("cgroup/connect4")
int weft_connect4(struct bpf_sock_addr *ctx)
{
	struct weft_ip ip = ip_from4(ctx->user_ip4);
	struct weft_ip bound = {};
	struct bpf_sock *sk = ctx->sk;
	if (sk)
		bound = ip_from4(sk->src_ip4);
	struct target to = {};
	enum outcome outcome = decide(ctx, &ip, &bound, &to);
	if (outcome == REDIRECT || outcome == KERNEL) {
		ctx->user_ip4 = ip_word(&to.ip, 3);
		ctx->user_port = to.port;
	}
	return outcome != REFUSE;
}

SEC("cgroup/connect6")
int weft_connect6(struct bpf_sock_addr *ctx)
{
	struct weft_ip ip = ip_from6(ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]);
	struct weft_ip bound = {};
	struct bpf_sock *sk = ctx->sk;
	if (sk)
		bound = ip_from6(sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3]);
	struct target to = {};
	enum outcome outcome = decide(ctx, &ip, &bound, &to);
	if (outcome == REDIRECT || outcome == KERNEL) {
		ctx->user_ip6[0] = ip_word(&to.ip, 0);
		ctx->user_ip6[1] = ip_word(&to.ip, 1);
		ctx->user_ip6[2] = ip_word(&to.ip, 2);
		ctx->user_ip6[3] = ip_word(&to.ip, 3);
		ctx->user_port = to.port;
	}
	return outcome != REFUSE;
}

/*
 * Finds the peer address to show the application; returns 0 for the real one. accept() can run before PASSIVE_ESTABLISHED
 * has moved the handoff record into the socket's storage; then the record is still in weft_notes.
 */
static __always_inline int shown_peer(struct bpf_sock_addr *ctx, const struct weft_ip *real, struct weft_ip *ip,
				      __be16 *port)
{
	struct bpf_sock *sk = ctx->sk;
	if (!sk)
		return 0;
	struct weft_sock *state = bpf_sk_storage_get(&weft_sock, sk, 0, 0);
	if (state && state->kind != WEFT_SOCK_NONE) {
		if (state->kind != WEFT_SOCK_CAPTURED && state->kind != WEFT_SOCK_ACCEPTED &&
		    state->kind != WEFT_SOCK_KERNEL)
			return 0;
		*ip = state->ip;
		*port = state->port;
		return !ip_is_zero(ip);
	}
	__u64 cookie = bpf_get_netns_cookie(ctx);
	if (!bpf_map_lookup_elem(&weft_pods, &cookie))
		return 0;
	struct weft_note_key key = { .cookie = cookie, .saddr = *real };
	if (ip_is_v4(real))
		key.daddr = ip_from4(sk->src_ip4);
	else
		key.daddr = ip_from6(sk->src_ip6[0], sk->src_ip6[1], sk->src_ip6[2], sk->src_ip6[3]);
	key.sport = (__be16)ctx->user_port;
	key.dport = bpf_htons((__u16)sk->src_port);
	struct weft_note *record = bpf_map_lookup_elem(&weft_notes, &key);
	if (!record || record->kind != WEFT_HANDOFF_OWN || ip_is_zero(&record->ip))
		return 0;
	*ip = record->ip;
	*port = record->port;
	return 1;
}

SEC("cgroup/getpeername4")
int weft_peername4(struct bpf_sock_addr *ctx)
{
	struct weft_ip ip, real = ip_from4(ctx->user_ip4);
	__be16 port;
	/* An IPv6 client does not fit an IPv4 sockaddr: the real peer address stays. */
	if (shown_peer(ctx, &real, &ip, &port) && ip_is_v4(&ip)) {
		ctx->user_ip4 = ip_word(&ip, 3);
		ctx->user_port = port;
	}
	return 1;
}

SEC("cgroup/getpeername6")
int weft_peername6(struct bpf_sock_addr *ctx)
{
	struct weft_ip ip, real = ip_from6(ctx->user_ip6[0], ctx->user_ip6[1], ctx->user_ip6[2], ctx->user_ip6[3]);
	__be16 port;
	if (shown_peer(ctx, &real, &ip, &port)) {
		ctx->user_ip6[0] = ip_word(&ip, 0);
		ctx->user_ip6[1] = ip_word(&ip, 1);
		ctx->user_ip6[2] = ip_word(&ip, 2);
		ctx->user_ip6[3] = ip_word(&ip, 3);
		ctx->user_port = port;
	}
	return 1;
}

/*
 * Refuses MPTCP. On connect() of an MPTCP socket the hooks see its subflow, so getpeername() could not be restored, and the
 * kernel creates further subflows past every hook. Applications fall back to TCP on this error.
 */
SEC("cgroup/sock_create")
int weft_sock_create(struct bpf_sock *ctx)
{
	if (ctx->protocol != IPPROTO_MPTCP)
		return 1;
	__u64 cookie = bpf_get_netns_cookie(ctx);
	if (!bpf_map_lookup_elem(&weft_pods, &cookie))
		return 1;
	count(WEFT_REFUSED_MPTCP);
	bpf_set_retval(-EPROTONOSUPPORT);
	return 0;
}

char _license[] SEC("license") = "Dual BSD/GPL";
