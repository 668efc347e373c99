/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* The life of a connection that the kernel carries: entered at connect(), told when it ends. */
#ifndef WEFT_LIVE_H
#define WEFT_LIVE_H

#include "notes.h"

static __always_inline void tell_end(const struct weft_live *live)
{
	struct weft_flow *flow = bpf_ringbuf_reserve(&weft_flows, sizeof(*flow), 0);
	if (!flow) {
		count(WEFT_EVENTS_LOST);
		return;
	}
	flow->time = bpf_ktime_get_ns();
	flow->live = *live;
	/* Read by polling: no wakeup to pay for per connection. */
	bpf_ringbuf_submit(flow, BPF_RB_NO_WAKEUP);
}

static __always_inline void live_remove(__u64 id, __u64 source)
{
	if (!bpf_map_delete_elem(&weft_live, &id))
		share_give_live(source);
}

#endif
