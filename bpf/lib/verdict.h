/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Whether a connection may go without the agent, and where a service's address leads. */
#ifndef WEFT_VERDICT_H
#define WEFT_VERDICT_H

#include "event.h"
#include "ip.h"

struct target {
	struct weft_ip ip;
	__be16 port;
	int picked; /* from a service's endpoints */
};

/* Where a client's connections go together: src/state/affinity.ts computes the same. */
static __always_inline __u32 affinity_bucket(const struct weft_ip *client)
{
	__u32 hash = 0x811c9dc5;
	for (int i = 0; i < 16; i++)
		hash = (hash ^ client->bytes[i]) * 0x01000193;
	hash = (hash ^ (hash >> 16)) * 0x85ebca6b;
	hash = (hash ^ (hash >> 13)) * 0xc2b2ae35;
	return (hash ^ (hash >> 16)) % WEFT_AFFINITY_BUCKETS;
}

/* 0 where the address is a service's and its endpoint could not be told: the agent's matter. */
static __always_inline int pick_endpoint(struct target *to, const struct weft_ip *client)
{
	struct weft_service_key key = { .ip = to->ip, .port = to->port };
	struct weft_service *service = bpf_map_lookup_elem(&weft_services, &key);
	if (!service)
		return 1;
	__u32 count = service->count;
	if (!count)
		return 0;
	struct weft_endpoint_key at = { .id = service->id };
	at.index = service->flags & WEFT_SERVICE_AFFINITY ? affinity_bucket(client) : bpf_get_prandom_u32() % count;
	struct weft_endpoint *endpoint = bpf_map_lookup_elem(&weft_endpoints, &at);
	/* The set was replaced a moment ago. */
	if (!endpoint)
		return 0;
	to->ip = endpoint->ip;
	to->port = endpoint->port;
	to->picked = 1;
	return 1;
}

/* The destination pod where an allow verdict stands at its present epoch; 0 means: to the agent. */
static __always_inline struct weft_local *allowed(__u64 source, const struct target *to)
{
	struct weft_local *local = bpf_map_lookup_elem(&weft_local, &to->ip);
	if (!local || !(local->flags & WEFT_LOCAL_KERNEL) || local->cookie == source)
		return 0;
	struct weft_verdict_key key = { .source = source, .destination = local->cookie, .port = to->port };
	struct weft_verdict *verdict = bpf_map_lookup_elem(&weft_verdicts, &key);
	if (!verdict || verdict->action != WEFT_ACTION_ALLOW) {
		count(WEFT_KERNEL_NO_VERDICT);
		return 0;
	}
	if (verdict->epoch != local->epoch) {
		count(WEFT_KERNEL_STALE_VERDICT);
		return 0;
	}
	/* An agent that is gone cannot take back what it allowed, so its word holds for a while only. */
	if (bpf_ktime_get_ns() > node_slot(WEFT_NODE_LEASE)) {
		count(WEFT_KERNEL_LEASE_OVER);
		return 0;
	}
	return local;
}

#endif
