// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * sk_lookup: connections that arrive at a pod. The hook's context does not identify the network namespace, so each pod has
 * its own instance of the program, with the namespace cookie in read-only data.
 */
#include "lib/event.h"
#include "lib/ip.h"

const volatile __u64 pod_cookie = 0;

#define IPPROTO_TCP 6
#define LOOPBACK_IFINDEX 1

struct arrival {
	struct weft_note_key key;
	__u16 port;
};

static __always_inline int drop(const struct arrival *a, __u32 reason)
{
	report_event(reason, pod_cookie, &a->key.saddr, bpf_ntohs(a->key.sport), &a->key.daddr, a->port);
	return SK_DROP;
}

/* Without a listener of the agent the connection is dropped, never passed to another socket on that port. */
static __always_inline int steer(struct bpf_sk_lookup *ctx, const struct arrival *a, __u32 listener, __u32 reason)
{
	struct weft_listener_key key = { .cookie = pod_cookie, .listener = listener };
	struct bpf_sock *sk = bpf_map_lookup_elem(&weft_listeners, &key);
	if (!sk)
		return drop(a, WEFT_DROPPED_NO_LISTENER);
	long error = bpf_sk_assign(ctx, sk, 0);
	bpf_sk_release(sk);
	if (error)
		return drop(a, WEFT_DROPPED_NO_LISTENER);
	count(reason);
	return SK_PASS;
}

SEC("sk_lookup")
int weft_inbound(struct bpf_sk_lookup *ctx)
{
	if (ctx->protocol != IPPROTO_TCP)
		return SK_PASS;
	struct arrival a = { .key = { .cookie = pod_cookie }, .port = (__u16)ctx->local_port };
	if (ctx->family == 2 /* AF_INET */) {
		a.key.saddr = ip_from4(ctx->remote_ip4);
		a.key.daddr = ip_from4(ctx->local_ip4);
	} else {
		a.key.saddr = ip_from6(ctx->remote_ip6[0], ctx->remote_ip6[1], ctx->remote_ip6[2], ctx->remote_ip6[3]);
		a.key.daddr = ip_from6(ctx->local_ip6[0], ctx->local_ip6[1], ctx->local_ip6[2], ctx->local_ip6[3]);
	}
	a.key.sport = (__be16)ctx->remote_port;
	a.key.dport = bpf_htons(a.port);

	/* The kernel drops loopback addresses that arrive on any other device. */
	if (ctx->ingress_ifindex == LOOPBACK_IFINDEX && ip_is_loopback(&a.key.saddr) && ip_is_loopback(&a.key.daddr))
		return SK_PASS;
	struct weft_note *record = bpf_map_lookup_elem(&weft_notes, &a.key);
	switch (a.port) {
	case WEFT_PORT_HBONE:
		return steer(ctx, &a, WEFT_LISTENER_HBONE, WEFT_IN_HBONE);
	case WEFT_PORT_OUTBOUND:
		if (record && record->kind == WEFT_HANDOFF_CAPTURED)
			return steer(ctx, &a, WEFT_LISTENER_OUTBOUND, WEFT_IN_OUTBOUND);
		return drop(&a, WEFT_DROPPED_AGENT_PORT);
	case WEFT_PORT_INBOUND:
	case WEFT_PORT_DNS:
		return drop(&a, WEFT_DROPPED_AGENT_PORT);
	}
	if (record && record->kind == WEFT_HANDOFF_VERDICT) {
		/* The policy may have changed since connect(). */
		struct weft_local *local = bpf_map_lookup_elem(&weft_local, &a.key.daddr);
		if (!local || local->epoch != record->epoch)
			return drop(&a, WEFT_DROPPED_STALE_VERDICT);
		count(WEFT_IN_VERDICT);
		return SK_PASS;
	}
	if (record && record->kind != WEFT_HANDOFF_CAPTURED) {
		count(WEFT_IN_NOTED);
		return SK_PASS;
	}
	struct weft_bypass_port_key bypass = { .cookie = pod_cookie, .port = a.port, .direction = WEFT_INBOUND };
	if (bpf_map_lookup_elem(&weft_bypass_port, &bypass)) {
		count(WEFT_IN_EXCLUDED);
		return SK_PASS;
	}
	return steer(ctx, &a, WEFT_LISTENER_INBOUND, WEFT_IN_PLAIN);
}

char _license[] SEC("license") = "Dual BSD/GPL";
