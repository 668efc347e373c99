/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Counting, and telling the agent why something was refused. */
#ifndef WEFT_EVENT_H
#define WEFT_EVENT_H

#include "share.h"

static __always_inline void count(__u32 reason)
{
	__u64 *value = bpf_map_lookup_elem(&weft_count, &reason);
	if (value)
		*value += 1;
}

/* 0 where the agent has not said it. */
static __always_inline __u64 node_slot(__u32 slot)
{
	__u64 *value = bpf_map_lookup_elem(&weft_node, &slot);
	return value ? *value : 0;
}

/* Whether one more event of this pod may be told now: a flood of one pod's costs no other pod its own. */
static __always_inline int share_event(__u64 cookie)
{
	struct weft_share *share = share_of(cookie);
	if (!share)
		return 0;
	__u32 window = (__u32)(bpf_ktime_get_ns() >> WEFT_SHARE_WINDOW_SHIFT);
	/* Two CPUs at the border of a window may tell a few more. */
	if (share->window != window) {
		share->window = window;
		share->events = 0;
	}
	return __sync_fetch_and_add(&share->events, 1) < WEFT_SHARE_EVENTS;
}

/* `cookie`: the pod that is refused something, or that something was dropped for. */
static __always_inline void tell(__u32 reason, __u64 cookie, const struct weft_ip *saddr, __u16 sport,
				 const struct weft_ip *daddr, __u16 dport)
{
	count(reason);
	if (!share_event(cookie)) {
		count(WEFT_EVENTS_SHARE);
		return;
	}
	struct weft_event *event = bpf_ringbuf_reserve(&weft_events, sizeof(*event), 0);
	if (!event) {
		count(WEFT_EVENTS_LOST);
		return;
	}
	event->time = bpf_ktime_get_ns();
	event->cookie = cookie;
	event->saddr = *saddr;
	event->daddr = *daddr;
	event->sport = sport;
	event->dport = dport;
	event->reason = reason;
	/* Read by polling. */
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

#endif
