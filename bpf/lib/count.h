/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* weft_count: decisions of the programs, counted by reason. */
#ifndef WEFT_COUNT_H
#define WEFT_COUNT_H

#include "maps.h"

static __always_inline void count(__u32 reason)
{
	__u64 *value = bpf_map_lookup_elem(&weft_count, &reason);
	if (value)
		*value += 1;
}

#endif
