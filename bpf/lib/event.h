/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* weft_events: reports to the agent why something was refused or dropped. */
#ifndef WEFT_EVENT_H
#define WEFT_EVENT_H

#include "count.h"
#include "share.h"

/* Whether one more event of this pod may be reported now: a flood of one pod's events costs no other pod its own. */
static __always_inline int share_take_event(__u64 cookie)
{
	struct weft_share *share = share_of(cookie);
	if (!share)
		return 0;
	__u32 window = (__u32)(bpf_ktime_get_ns() >> WEFT_SHARE_WINDOW_SHIFT);
	/* Two CPUs at the border of a window may report a few more. */
	if (share->window != window) {
		share->window = window;
		share->events = 0;
	}
	return __sync_fetch_and_add(&share->events, 1) < WEFT_SHARE_EVENTS;
}

/* `cookie`: the pod that is refused something, or that something was dropped for. */
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
	/* Read by polling. */
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
}

#endif
