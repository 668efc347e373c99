// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/* Redirects one socket's writes to another's receive queue: native/src/probe.cc tests which socket the kernel charges. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} probe_ends SEC(".maps");

SEC("sk_msg")
int weft_probe_msg(struct sk_msg_md *msg)
{
	return bpf_msg_redirect_map(msg, &probe_ends, 1, BPF_F_INGRESS);
}

char _license[] SEC("license") = "Dual BSD/GPL";
