/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* weft_live and weft_flows: a kernel flow is entered at connect() and reported when it ends. */
#ifndef WEFT_FLOW_H
#define WEFT_FLOW_H

#include "handoff.h"

/* The key in weft_ends of one end of a flow. `side`: 0 for the client's end, 1 for the server's. */
static __always_inline struct weft_note_key flow_end_key(const struct weft_live *live, int side)
{
	if (side)
		return (struct weft_note_key){ .cookie = live->destination,
					       .saddr = live->daddr,
					       .daddr = live->saddr,
					       .sport = live->dport,
					       .dport = live->sport };
	return (struct weft_note_key){ .cookie = live->source,
				       .saddr = live->saddr,
				       .daddr = live->daddr,
				       .sport = live->sport,
				       .dport = live->dport };
}

static __always_inline void flow_report_end(const struct weft_live *live)
{
	struct weft_flow *flow = bpf_ringbuf_reserve(&weft_flows, sizeof(*flow), 0);
	if (!flow) {
		count(WEFT_EVENTS_LOST);
		return;
	}
	flow->time = bpf_ktime_get_ns();
	flow->live = *live;
	/* The agent polls the ring: this saves a wakeup per connection. */
	bpf_ringbuf_submit(flow, BPF_RB_NO_WAKEUP);
}

static __always_inline void flow_remove(__u64 id, __u64 source)
{
	if (!bpf_map_delete_elem(&weft_live, &id))
		share_give_live(source);
}

#endif
