/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* weft_node: node-wide settings that the agent writes. */
#ifndef WEFT_NODE_H
#define WEFT_NODE_H

#include "maps.h"

/* The value of a slot; 0 if the agent has not set it. */
static __always_inline __u64 node_slot(__u32 slot)
{
	__u64 *value = bpf_map_lookup_elem(&weft_node, &slot);
	return value ? *value : 0;
}

#endif
