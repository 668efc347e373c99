/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* weft_events: reports refused and dropped connections to the agent. */
#ifndef WEFT_EVENT_H
#define WEFT_EVENT_H

#include "count.h"
#include "share.h"

/* Whether this pod may report one more event now. The limit is per pod: a flood from one pod loses no other pod's events. */
static __always_inline int share_take_event(__u64 cookie)
{
	struct weft_share *share = share_of(cookie);
	if (!share)
		return 0;
	__u32 window = (__u32)(bpf_ktime_get_ns() >> WEFT_SHARE_WINDOW_SHIFT);
	/* At the start of a window, two CPUs that race here may report a few more. */
	if (share->window != window) {
		share->window = window;
		share->events = 0;
	}
	return __sync_fetch_and_add(&share->events, 1) < WEFT_SHARE_EVENTS;
}

/* `cookie`: the pod whose connect() was refused, or for which the connection was dropped. */
static __always_inline void report_event(__u32 reason, __u64 cookie, const struct weft_ip *saddr, __u16 sport,
					 const struct weft_ip *daddr, __u16 dport)
{
	count(reason);
	if (!share_take_event(cookie)) {
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
	/* The agent polls the ring. */
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

#endif
