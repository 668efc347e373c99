/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * What the kernel side and the agent share: every struct here stands in a map. The agent's types are generated from the
 * objects' BTF (native/generate-rows.mjs, daemonset/maps/rows.generated.ts); test/bpf/layout.test.ts compares both.
 * Addresses are 16 bytes in network order, v4 as ::ffff:a.b.c.d. Cookies are network namespace cookies:
 * the kernel's own knowledge of which pod a socket lives in.
 */
#ifndef WEFT_ABI_H
#define WEFT_ABI_H

#include <linux/types.h>

/* Enums, not macros, for all that the agent shares: BTF has no macros. */
enum weft_port {
	WEFT_PORT_OUTBOUND = 15001,
	WEFT_PORT_INBOUND = 15006,
	WEFT_PORT_HBONE = 15008,
	WEFT_PORT_DNS = 15053,
};

struct weft_ip {
	__u8 bytes[16];
};

enum weft_pod_flag {
	/* connect() leaves uncaptured while no agent listens; default is refusal. */
	WEFT_POD_PLAINTEXT_WITHOUT_AGENT = 1,
	/* Capture outbound connections. Clear while a pod is being enrolled or unenrolled. */
	WEFT_POD_CAPTURE = 2,
	/* Its connections to pods of this node may go without the agent. */
	WEFT_POD_KERNEL = 4,
	/* Those with another pod that has this too may go past TCP. */
	WEFT_POD_SPLICE = 8,
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

enum weft_direction { WEFT_OUTBOUND = 0, WEFT_INBOUND = 1, WEFT_UNSPLICED = 2 };

/* weft_bypass_port: ports excluded from capture; with WEFT_UNSPLICED, ports whose connections stay on TCP */
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
	WEFT_SOCK_KERNEL = 4, /* the client's end of a connection that the kernel carries; ip, port: what was dialled */
	WEFT_SOCK_KERNEL_ACCEPTED = 5, /* the server's end of one */
	WEFT_SOCK_DIALED = 6, /* the agent's accepted end of a captured connection; ip, port: what was dialed */
};
enum weft_sock_flag { WEFT_SOCK_UNSPLICED = 1 /* it has options that want TCP */ };
struct weft_sock {
	struct weft_ip ip;
	__be16 port;
	__be16 chosen_port;
	__u32 kind; /* enum weft_sock_kind */
	struct weft_ip chosen; /* the endpoint that was picked for it, zero where none was */
	__u64 live; /* key of weft_live, zero for none */
	__u32 flags; /* enum weft_sock_flag */
	__u32 pad;
};

/*
 * weft_notes: handoff records, written at TCP_CONNECT_CB, before the SYN leaves; the destination's sk_lookup lets nothing
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
enum weft_handoff_kind {
	WEFT_HANDOFF_CAPTURED = 1, /* to the agent's outbound listener; ip, port: what was dialled; chosen: the endpoint */
	WEFT_HANDOFF_OWN = 2, /* the agent delivers; ip, port: the true client, zero for none */
	WEFT_HANDOFF_SELF = 3, /* a pod to itself */
	WEFT_HANDOFF_PROBE = 4, /* the node's probe */
	WEFT_HANDOFF_VERDICT = 5, /* the kernel path: an allow verdict at `epoch` */
};
struct weft_note {
	struct weft_ip ip;
	__be16 port;
	__be16 chosen_port;
	__u32 kind; /* enum weft_handoff_kind */
	struct weft_ip chosen;
	__u64 source; /* namespace cookie */
	__u64 epoch;
	__u64 live;
};

/* weft_negative: a destination that just failed -> until when connect() is refused, ktime in ns */
struct weft_negative_key {
	__u64 cookie;
	struct weft_ip ip;
	__be16 port;
	__u16 pad[3];
};

/* weft_local: address of a pod of this node that is in the mesh -> the pod */
enum weft_local_flag { WEFT_LOCAL_KERNEL = 1 /* it may be reached without the agent */ };
struct weft_local {
	__u64 cookie;
	__u64 epoch; /* moves with every change of policy for this pod; never goes back */
	__u32 flags; /* enum weft_local_flag */
	__u32 pad;
};

/*
 * weft_verdicts: an entry counts only at its destination's present epoch, so that a late write never brings
 * back an old allow. Each pod is a policy class of its own: rules may name addresses and single workloads.
 */
struct weft_verdict_key {
	__u64 source; /* namespace cookies */
	__u64 destination;
	__be16 port;
	__u16 pad[3];
};
enum weft_action { WEFT_ACTION_ALLOW = 1 /* all else is the agent's */ };
struct weft_verdict {
	__u64 epoch;
	__u32 action; /* enum weft_action */
	__u32 pad;
};

/* weft_services: address and port of a service -> the set of its endpoints; a change is a new set under a new id */
struct weft_service_key {
	struct weft_ip ip;
	__be16 port;
	__u16 pad;
};
enum weft_affinity_size { WEFT_AFFINITY_BUCKETS = 512 /* of client addresses: src/state/affinity.ts */ };
enum weft_service_flag {
	/* The set has WEFT_AFFINITY_BUCKETS entries, one for each bucket of client addresses. */
	WEFT_SERVICE_AFFINITY = 1,
};
struct weft_service {
	__u32 id;
	__u32 count;
	__u32 flags; /* enum weft_service_flag */
};
struct weft_endpoint_key {
	__u32 id;
	__u32 index; /* below the set's count */
};
struct weft_endpoint {
	struct weft_ip ip;
	__be16 port;
	__u16 pad;
};

/*
 * weft_shares: network namespace cookie of a pod -> what it holds of the shared tables (share.h). The node's own namespace
 * has no share: who is root there is not held by any of this.
 */
#define WEFT_SHARE_HANDOFFS 4096
#define WEFT_SHARE_LIVE 16384
/* Events in one window of 2^30 ns. */
#define WEFT_SHARE_EVENTS 64
#define WEFT_SHARE_WINDOW_SHIFT 30
struct weft_share {
	__u32 notes; /* entries of weft_notes whose source it is */
	__u32 live; /* entries of weft_live whose source it is */
	__u32 events; /* reported in `window` */
	__u32 window; /* ktime >> WEFT_SHARE_WINDOW_SHIFT */
};

/* weft_live: connections that the kernel carries, by the client socket's cookie. [0] is the client's end. */
enum weft_live_flag {
	WEFT_LIVE_CLIENT_OPEN = 1,
	WEFT_LIVE_SERVER_OPEN = 2,
	WEFT_LIVE_CLIENT_CLOSED = 4,
	WEFT_LIVE_SERVER_CLOSED = 8,
	WEFT_LIVE_LEAVING = 16, /* an end is being closed: TCP from here on */
	WEFT_LIVE_SPLICED = 32, /* an end is in the sockhash */
	WEFT_LIVE_CLIENT_FIN = 128, /* it has announced its end */
	WEFT_LIVE_SERVER_FIN = 256,
	WEFT_LIVE_BLOCKING = 512, /* an end was seen to block: TCP from here on */
	WEFT_LIVE_OVERFLOWED = 64, /* a reader fell behind by the limit at least once */
};
struct weft_live {
	/* As far as dialled_port: equal for connections whose records differ in the client's port and counts alone (flows.ts). */
	__u64 source; /* namespace cookies */
	__u64 destination;
	struct weft_ip saddr;
	struct weft_ip daddr;
	struct weft_ip dialled;
	__be16 dport;
	__be16 dialled_port;
	__be16 sport;
	__u16 pad;
	__u32 flags; /* enum weft_live_flag */
	__u32 pad2;
	__u64 epoch;
	__u64 started; /* ktime in ns */
	__u64 bytes[2]; /* written by each end; while it lives, as far as splice.bpf.c saw it */
	__u64 spliced[2]; /* of these, what never met TCP */
	__u64 sock[2]; /* kernel addresses, 0 when gone */
	__u64 cookie[2]; /* socket cookies */
	__u32 base[2]; /* each end's sequence number at establishment */
};

/* weft_flows (ring buffer): the end of each connection of weft_live; those that still live are read from there */
struct weft_flow {
	__u64 time; /* ktime in ns */
	struct weft_live live;
};

/* weft_node (array of __u64) */
enum weft_node_slot {
	WEFT_NODE_COOKIE = 0, /* of the node's own namespace */
	WEFT_NODE_LEASE = 1, /* ktime in ns until which verdicts count: the agent's heartbeat */
	WEFT_NODE_SPLICE_MAX = 2, /* bytes that may wait, spliced, for one reader; 0: nothing is spliced */
	WEFT_NODE_SPLICE_PAGES_MAX = 3, /* that TCP of the whole kernel may hold while anything is spliced */
	WEFT_NODE_SPLICE_BLOCKING = 4, /* not 0: sockets that block are spliced too */
	WEFT_NODE_TAKEOVER = 5, /* not 0: connect() is another build's still (daemonset/datapath/generations.ts) */
	WEFT_NODE_SLOTS = 6,
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
	WEFT_KERNEL_ALLOWED = 18,
	WEFT_KERNEL_NO_VERDICT = 19,
	WEFT_KERNEL_STALE_VERDICT = 20,
	WEFT_KERNEL_LEASE_OVER = 21,
	WEFT_KERNEL_LIVE_FULL = 22,
	WEFT_IN_VERDICT = 23,
	WEFT_DROPPED_STALE_VERDICT = 24,
	WEFT_SPLICED = 25,
	WEFT_SPLICE_FAILED = 26,
	WEFT_SPLICE_OVERFLOWED = 27,
	WEFT_SPLICE_LEFT = 28,
	WEFT_NOTES_SHARE = 29,
	WEFT_KERNEL_LIVE_SHARE = 30,
	WEFT_KERNEL_FOREIGN_SOURCE = 31,
	WEFT_EVENTS_SHARE = 32,
	WEFT_REASON_COUNT = 33,
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
_Static_assert(sizeof(struct weft_sock) == 56, "layout");
_Static_assert(sizeof(struct weft_note_key) == 48, "layout");
_Static_assert(sizeof(struct weft_note) == 64, "layout");
_Static_assert(sizeof(struct weft_negative_key) == 32, "layout");
_Static_assert(sizeof(struct weft_verdict_key) == 24, "layout");
_Static_assert(sizeof(struct weft_verdict) == 16, "layout");
_Static_assert(sizeof(struct weft_live) == 168, "layout");
_Static_assert(sizeof(struct weft_local) == 24, "layout");
_Static_assert(sizeof(struct weft_service_key) == 20, "layout");
_Static_assert(sizeof(struct weft_service) == 12, "layout");
_Static_assert(sizeof(struct weft_endpoint_key) == 8, "layout");
_Static_assert(sizeof(struct weft_endpoint) == 20, "layout");
_Static_assert(sizeof(struct weft_flow) == 176, "layout");
_Static_assert(sizeof(struct weft_event) == 56, "layout");
_Static_assert(sizeof(struct weft_share) == 16, "layout");

#endif
