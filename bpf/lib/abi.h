/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What the kernel side and the agent share: every struct here stands in a map and is read by
 * daemonset/datapath/layout.ts; test/bpf/layout.test.ts compares both with the object's BTF.
 * Addresses are 16 bytes in network order, v4 as ::ffff:a.b.c.d. Cookies are network namespace cookies:
 * the kernel's own knowledge of which pod a socket lives in.
 */
#ifndef WEFT_ABI_H
#define WEFT_ABI_H

#include <linux/types.h>

#define WEFT_PORT_OUTBOUND 15001
#define WEFT_PORT_INBOUND 15006
#define WEFT_PORT_HBONE 15008
#define WEFT_PORT_DNS 15053

struct weft_ip {
	__u8 bytes[16];
};

enum weft_pod_flag {
	/* connect() leaves uncaptured while no agent listens; default is refusal. */
	WEFT_POD_PLAINTEXT_WITHOUT_AGENT = 1,
	/* Capture outbound connections. Clear while a pod is being taken in or let go. */
	WEFT_POD_CAPTURE = 2,
};

/* weft_pods: namespace cookie -> pod */
struct weft_pod {
	struct weft_ip ip4; /* all zero: the pod has none */
	struct weft_ip ip6;
	__u32 flags; /* enum weft_pod_flag */
	__u32 generation;
};

/* weft_pod_addr: the pod's own addresses, which are left alone */
struct weft_pod_addr_key {
	__u64 cookie;
	struct weft_ip ip;
};

enum weft_direction { WEFT_OUTBOUND = 0, WEFT_INBOUND = 1 };

/* weft_bypass_port: ports excluded from capture */
struct weft_bypass_port_key {
	__u64 cookie;
	__u16 port;
	__u16 direction; /* enum weft_direction */
	__u32 pad;
};

/* weft_bypass_ip: longest prefix match; prefix_length counts the cookie's 64 bits and v4's 96 too */
struct weft_bypass_ip_key {
	__u32 prefix_length;
	__u8 cookie[8]; /* as the kernel stores it; LPM keys have no padding */
	struct weft_ip ip;
};

/* weft_probe: what the node's own namespace may reach in strict mode -> the pod's cookie */
struct weft_probe_key {
	struct weft_ip ip;
	__u16 port;
	__u8 pad[6];
};

/* weft_listeners (SOCKHASH): the agent's listeners in the pod's namespace */
enum weft_listener { WEFT_LISTENER_OUTBOUND = 1, WEFT_LISTENER_INBOUND = 2, WEFT_LISTENER_HBONE = 3 };
struct weft_listener_key {
	__u64 cookie;
	__u32 listener; /* enum weft_listener */
	__u32 pad;
};

/* weft_sock (socket storage): what is remembered of one socket */
enum weft_sock_kind {
	WEFT_SOCK_NONE = 0,
	WEFT_SOCK_CAPTURED = 1, /* ip, port: what the application dialled */
	WEFT_SOCK_OWN = 2, /* the agent's; ip, port: the client it speaks for, zero for none */
	WEFT_SOCK_ACCEPTED = 3, /* an application's accepted socket; ip, port: its true client */
};
struct weft_sock {
	struct weft_ip ip;
	__be16 port;
	__u16 pad;
	__u32 kind; /* enum weft_sock_kind */
};

/*
 * weft_notes: written at TCP_CONNECT_CB, before the SYN leaves; the destination's sk_lookup lets nothing
 * pass that has none. The key names the destination's namespace, since four-tuples repeat across pods.
 */
struct weft_note_key {
	__u64 cookie; /* destination */
	struct weft_ip saddr;
	struct weft_ip daddr;
	__be16 sport;
	__be16 dport;
	__u32 pad;
};
enum weft_note_kind {
	WEFT_NOTE_CAPTURED = 1, /* to the agent's outbound listener; ip, port: what was dialled */
	WEFT_NOTE_OWN = 2, /* the agent delivers; ip, port: the true client, zero for none */
	WEFT_NOTE_SELF = 3, /* a pod to itself */
	WEFT_NOTE_PROBE = 4, /* the node's probe */
	WEFT_NOTE_VERDICT = 5, /* the kernel path: an allow verdict at `epoch` */
};
struct weft_note {
	struct weft_ip ip;
	__be16 port;
	__u16 pad;
	__u32 kind; /* enum weft_note_kind */
	__u64 source; /* namespace cookie */
	__u64 epoch;
};

/* weft_negative: a destination that just failed -> until when connect() is refused, ktime in ns */
struct weft_negative_key {
	__u64 cookie;
	struct weft_ip ip;
	__be16 port;
	__u16 pad[3];
};

/* weft_verdicts: (source policy class, destination workload, port); an entry counts only at its epoch */
struct weft_verdict_key {
	__u32 source_class;
	__u32 workload;
	__be16 port;
	__u16 pad;
};
struct weft_verdict {
	__u64 epoch;
	__u32 action; /* 1 allow in the kernel, 2 to the agent, 3 deny */
	__u32 policy;
};

/* weft_live: connections that the kernel carries */
struct weft_live {
	__u64 source_socket;
	__u64 destination_socket;
	__u64 epoch;
	__u32 workload;
	__u32 state;
};

/* weft_count (per CPU array) and the events' reason; docs/explain.md says each in words */
enum weft_reason {
	WEFT_CAPTURED = 0,
	WEFT_LEFT_OWN_ADDRESS = 1,
	WEFT_LEFT_EXCLUDED = 2,
	WEFT_REFUSED_NO_AGENT = 3,
	WEFT_LEFT_NO_AGENT = 4,
	WEFT_REFUSED_NO_FAMILY = 5,
	WEFT_REFUSED_NEGATIVE = 6,
	WEFT_REFUSED_MPTCP = 7,
	WEFT_REFUSED_STORAGE = 8,
	WEFT_NOTES_FULL = 9,
	WEFT_IN_OUTBOUND = 10,
	WEFT_IN_HBONE = 11,
	WEFT_IN_PLAIN = 12,
	WEFT_IN_NOTED = 13,
	WEFT_IN_EXCLUDED = 14,
	WEFT_DROPPED_NO_LISTENER = 15,
	WEFT_DROPPED_AGENT_PORT = 16,
	WEFT_EVENTS_LOST = 17,
	WEFT_REASON_COUNT = 18,
};

/* weft_events (ring buffer): refusals and drops, so that absence has its reason */
struct weft_event {
	__u64 time; /* ktime in ns */
	__u64 cookie;
	struct weft_ip saddr;
	struct weft_ip daddr;
	__u16 sport;
	__u16 dport;
	__u32 reason; /* enum weft_reason */
};

_Static_assert(sizeof(struct weft_pod) == 40, "layout");
_Static_assert(sizeof(struct weft_pod_addr_key) == 24, "layout");
_Static_assert(sizeof(struct weft_bypass_port_key) == 16, "layout");
_Static_assert(sizeof(struct weft_bypass_ip_key) == 28, "layout");
_Static_assert(sizeof(struct weft_probe_key) == 24, "layout");
_Static_assert(sizeof(struct weft_listener_key) == 16, "layout");
_Static_assert(sizeof(struct weft_sock) == 24, "layout");
_Static_assert(sizeof(struct weft_note_key) == 48, "layout");
_Static_assert(sizeof(struct weft_note) == 40, "layout");
_Static_assert(sizeof(struct weft_negative_key) == 32, "layout");
_Static_assert(sizeof(struct weft_verdict_key) == 12, "layout");
_Static_assert(sizeof(struct weft_verdict) == 16, "layout");
_Static_assert(sizeof(struct weft_live) == 32, "layout");
_Static_assert(sizeof(struct weft_event) == 56, "layout");

#endif
