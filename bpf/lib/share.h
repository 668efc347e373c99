/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Limits on one pod's use of the maps and rings that all pods of a node share. Only the programs count: the program that
 * inserts an entry counts it, and the program whose delete succeeds gives it back. So a count equals the number of entries.
 */
#ifndef WEFT_SHARE_H
#define WEFT_SHARE_H

#include "maps.h"

static __always_inline struct weft_share *share_of(__u64 cookie)
{
	struct weft_share *share = bpf_map_lookup_elem(&weft_shares, &cookie);
	if (share)
		return share;
	struct weft_share none = {};
	bpf_map_update_elem(&weft_shares, &cookie, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&weft_shares, &cookie);
}

/* Takes one entry of a share; returns 0 if the share is used up. */
static __always_inline int share_take(__u32 *used, __u32 max)
{
	if (__sync_fetch_and_add(used, 1) < max)
		return 1;
	__sync_fetch_and_sub(used, 1);
	return 0;
}

static __always_inline void share_give_handoff(__u64 cookie)
{
	struct weft_share *share = bpf_map_lookup_elem(&weft_shares, &cookie);
	if (share)
		__sync_fetch_and_sub(&share->notes, 1);
}

static __always_inline void share_give_live(__u64 cookie)
{
	struct weft_share *share = bpf_map_lookup_elem(&weft_shares, &cookie);
	if (share)
		__sync_fetch_and_sub(&share->live, 1);
}

#endif
