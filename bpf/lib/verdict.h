/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* weft_verdicts and weft_local: whether a connection may be a kernel flow, without the agent. */
#ifndef WEFT_VERDICT_H
#define WEFT_VERDICT_H

#include "count.h"
#include "node.h"
#include "service.h"

/* The destination pod if an allow verdict exists at its current epoch; otherwise 0: the connection goes to the agent. */
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
	/* An agent that is gone cannot revoke its verdicts, so they are valid only until the lease expires. */
	if (bpf_ktime_get_ns() > node_slot(WEFT_NODE_LEASE)) {
		count(WEFT_KERNEL_LEASE_OVER);
		return 0;
	}
	return local;
}

#endif
