/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* weft_notes: handoff records, from the source pod's programs to the destination pod's sk_lookup (abi.h). */
#ifndef WEFT_HANDOFF_H
#define WEFT_HANDOFF_H

#include "event.h"
#include "ip.h"

#define EEXIST 17

/*
 * The four-tuple of a sockops socket. At TCP_CONNECT_CB, an IPv6 socket that connects to a mapped address already has its
 * IPv4 fields set, but its IPv6 source address only after the SYN left. So the IPv4 fields are read.
 */
static __always_inline void sockops_tuple(struct bpf_sock_ops *ctx, struct weft_note_key *key, int passive)
{
	/* Volatile: clang would merge the loads of both branches into one from a modified context pointer, which the verifier rejects. */
	volatile struct bpf_sock_ops *c = ctx;
	__u32 local4 = c->local_ip4, remote4 = c->remote_ip4;
	struct weft_ip local = ip_from6(c->local_ip6[0], c->local_ip6[1], c->local_ip6[2], c->local_ip6[3]);
	struct weft_ip remote = ip_from6(c->remote_ip6[0], c->remote_ip6[1], c->remote_ip6[2], c->remote_ip6[3]);
	__be16 lport = bpf_htons((__u16)ctx->local_port);
	__be16 rport = (__be16)(ctx->remote_port >> 16); /* network order in the upper half, see bpf.h */

	if (ctx->family == 2 /* AF_INET */ || ip_is_v4(&remote)) {
		remote = ip_from4(remote4);
		local = ip_from4(local4);
	}
	key->saddr = passive ? remote : local;
	key->daddr = passive ? local : remote;
	key->sport = passive ? rport : lport;
	key->dport = passive ? lport : rport;
	key->pad = 0;
}

/*
 * Whether a record counts against its source's share. Probes from the node and connections that another build's connect()
 * began do not count.
 */
static __always_inline int handoff_counts(const struct weft_note *record)
{
	return record->kind != WEFT_HANDOFF_PROBE && (record->kind != WEFT_HANDOFF_VERDICT || record->live != 0);
}

/*
 * Writes a handoff record. If that fails, the failure is counted and the destination drops the connection: it fails closed.
 * An existing record of the same key has the same source (the key contains the source's address or its namespace), so it is
 * already counted.
 */
static __always_inline void handoff_write(struct bpf_sock_ops *ctx, const struct weft_note_key *key,
					  const struct weft_note *record)
{
	int counted = handoff_counts(record);
	__u32 reason = WEFT_NOTES_SHARE;
	struct weft_share *share = counted ? share_of(record->source) : 0;
	if (!counted || (share && share_take(&share->notes, WEFT_SHARE_HANDOFFS))) {
		long error = bpf_map_update_elem(&weft_notes, key, record, BPF_NOEXIST);
		if (error && share)
			__sync_fetch_and_sub(&share->notes, 1);
		if (error == -EEXIST)
			error = bpf_map_update_elem(&weft_notes, key, record, BPF_EXIST);
		reason = error ? WEFT_NOTES_FULL : WEFT_REASON_COUNT;
	}
	if (reason != WEFT_REASON_COUNT)
		report_event(reason, record->source, &key->saddr, bpf_ntohs(key->sport), &key->daddr, bpf_ntohs(key->dport));
	bpf_sock_ops_cb_flags_set(ctx, ctx->bpf_sock_ops_cb_flags | BPF_SOCK_OPS_STATE_CB_FLAG);
}

/* The program whose delete succeeds gives the share back to the record's source. */
static __always_inline void handoff_remove(const struct weft_note_key *key, __u64 source, int counted)
{
	if (!bpf_map_delete_elem(&weft_notes, key) && counted)
		share_give_handoff(source);
}

#endif
