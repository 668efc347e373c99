/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* weft_services and weft_endpoints: picks an endpoint for a Service address. */
#ifndef WEFT_SERVICE_H
#define WEFT_SERVICE_H

#include "ip.h"
#include "maps.h"

struct target {
	struct weft_ip ip;
	__be16 port;
	int picked; /* 1: an endpoint of a Service */
};

/* The session affinity bucket of a client address; src/state/affinity.ts must compute the same. */
static __always_inline __u32 affinity_bucket(const struct weft_ip *client)
{
	__u32 hash = 0x811c9dc5;
	for (int i = 0; i < 16; i++)
		hash = (hash ^ client->bytes[i]) * 0x01000193;
	hash = (hash ^ (hash >> 16)) * 0x85ebca6b;
	hash = (hash ^ (hash >> 13)) * 0xc2b2ae35;
	return (hash ^ (hash >> 16)) % WEFT_AFFINITY_BUCKETS;
}

/*
 * Replaces a Service address in `to` by an endpoint. Returns 0 if the address is a Service's and no endpoint was found: the
 * agent decides then.
 */
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
	/* The endpoint set was replaced between the two lookups. */
	if (!endpoint)
		return 0;
	to->ip = endpoint->ip;
	to->port = endpoint->port;
	to->picked = 1;
	return 1;
}

#endif
