/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * The ABI between the eBPF programs and the agent: every struct here is a map key, a map value or a ring buffer record.
 * The agent's types are generated from the objects' BTF (native/generate-rows.mjs, daemonset/maps/rows.generated.ts);
 * test/bpf/layout.test.ts compares the two. Addresses are 16 bytes in network order, IPv4 as ::ffff:a.b.c.d. A field named
 * cookie, source or destination holds a network namespace cookie, by which the kernel identifies the pod of a socket.
 */
#ifndef WEFT_ABI_H
#define WEFT_ABI_H

#include <linux/types.h>

/* Constants that the agent shares are enums, not macros: BTF does not describe macros. */
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
	/* While no agent listens, connect() proceeds uncaptured. Without this flag it is refused. */
	WEFT_POD_PLAINTEXT_WITHOUT_AGENT = 1,
	/* Capture outbound connections. Clear while a pod is being enrolled or unenrolled. */
	WEFT_POD_CAPTURE = 2,
	/* The pod's connections to pods of the same node may be kernel flows, without the agent. */
	WEFT_POD_KERNEL = 4,
	/* Kernel flows between two pods that both have this flag may be spliced past TCP. */
	WEFT_POD_SPLICE = 8,
	/* HTTP/1.1 requests of the pod's kernel flows are counted (http.h). */
	WEFT_POD_OBSERVED = 16,
};

/* weft_pods: network namespace cookie -> pod */
struct weft_pod {
	struct weft_ip ip4; /* all zero: the pod has no IPv4 address */
	struct weft_ip ip6;
	__u32 flags; /* enum weft_pod_flag */
	__u32 generation;
};

/* weft_pod_addr: the pod's own addresses; connections to them are not captured */
struct weft_pod_addr_key {
	__u64 cookie;
	struct weft_ip ip;
};

enum weft_direction { WEFT_OUTBOUND = 0, WEFT_INBOUND = 1, WEFT_UNSPLICED = 2 };

/* weft_bypass_port: ports excluded from capture; with WEFT_UNSPLICED, ports whose connections are not spliced */
struct weft_bypass_port_key {
	__u64 cookie;
	__u16 port;
	__u16 direction; /* enum weft_direction */
	__u32 pad;
};

/* weft_bypass_ip: longest prefix match; prefix_length includes the cookie's 64 bits and the 96 bits before an IPv4 address */
struct weft_bypass_ip_key {
	__u32 prefix_length;
	__u8 cookie[8]; /* in host byte order; bytes, since a __u64 would need padding, which LPM keys must not have */
	struct weft_ip ip;
};

/* weft_probe: addresses and ports that the node's own network namespace may reach in strict mode -> the pod's cookie */
struct weft_probe_key {
	struct weft_ip ip;
	__u16 port;
	__u8 pad[6];
};

/* weft_listeners (SOCKHASH): the agent's listeners in the pod's network namespace */
enum weft_listener { WEFT_LISTENER_OUTBOUND = 1, WEFT_LISTENER_INBOUND = 2, WEFT_LISTENER_HBONE = 3 };
struct weft_listener_key {
	__u64 cookie;
	__u32 listener; /* enum weft_listener */
	__u32 pad;
};

/* weft_sock (socket storage): state of one socket */
enum weft_sock_kind {
	WEFT_SOCK_NONE = 0,
	WEFT_SOCK_CAPTURED = 1, /* a captured connection; ip, port: the address the application dialed */
	WEFT_SOCK_OWN = 2, /* the agent's socket; ip, port: the client on whose behalf it connects, zero for none */
	WEFT_SOCK_ACCEPTED = 3, /* an application's accepted socket; ip, port: its true client */
	WEFT_SOCK_KERNEL = 4, /* the client's end of a kernel flow; ip, port: the address dialed */
	WEFT_SOCK_KERNEL_ACCEPTED = 5, /* the server's end of a kernel flow */
	WEFT_SOCK_DIALED = 6, /* the agent's accepted end of a captured connection; ip, port: the address dialed */
};
enum weft_sock_flag {
	WEFT_SOCK_UNSPLICED = 1, /* the socket has options that need TCP */
	WEFT_SOCK_OBSERVED = 2, /* an end of a kernel flow with WEFT_LIVE_OBSERVED */
};
struct weft_sock {
	struct weft_ip ip;
	__be16 port;
	__be16 chosen_port;
	__u32 kind; /* enum weft_sock_kind */
	struct weft_ip chosen; /* the endpoint picked for the connection, zero for none */
	__u64 live; /* key of weft_live, zero for none */
	__u32 flags; /* enum weft_sock_flag */
	__u32 pad;
};

/*
 * weft_notes: handoff records, written at TCP_CONNECT_CB, before the SYN leaves. The destination's sk_lookup passes no
 * connection without one. The key contains the destination's namespace cookie, since four-tuples repeat across pods.
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
	WEFT_HANDOFF_CAPTURED = 1, /* to the agent's outbound listener; ip, port: the address dialed; chosen: the endpoint */
	WEFT_HANDOFF_OWN = 2, /* from the agent to the application; ip, port: the true client, zero for none */
	WEFT_HANDOFF_SELF = 3, /* from a pod to itself */
	WEFT_HANDOFF_PROBE = 4, /* a probe from the node */
	WEFT_HANDOFF_VERDICT = 5, /* a kernel flow, allowed by a verdict at `epoch` */
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

/* weft_negative: a destination that recently failed -> ktime in ns until which connect() to it is refused */
struct weft_negative_key {
	__u64 cookie;
	struct weft_ip ip;
	__be16 port;
	__u16 pad[3];
};

/* weft_local: address of an enrolled pod of this node -> the pod */
enum weft_local_flag { WEFT_LOCAL_KERNEL = 1 /* the pod accepts kernel flows */ };
struct weft_local {
	__u64 cookie;
	__u64 epoch; /* increases with every policy change for this pod; never decreases */
	__u32 flags; /* enum weft_local_flag */
	__u32 pad;
};

/*
 * weft_verdicts: an entry is valid only at its destination's current epoch, so a late write never restores a revoked allow.
 * Verdicts are keyed by pod, not by identity, since rules may match addresses and single workloads.
 */
struct weft_verdict_key {
	__u64 source; /* namespace cookies */
	__u64 destination;
	__be16 port;
	__u16 pad[3];
};
enum weft_action { WEFT_ACTION_ALLOW = 1 /* with any other value the connection goes to the agent */ };
struct weft_verdict {
	__u64 epoch;
	__u32 action; /* enum weft_action */
	__u32 pad;
};

/* weft_services: address and port of a Service -> its endpoint set. A changed set is written under a new id. */
struct weft_service_key {
	struct weft_ip ip;
	__be16 port;
	__u16 pad;
};
enum weft_affinity_size { WEFT_AFFINITY_BUCKETS = 512 /* buckets of client addresses: src/state/affinity.ts */ };
enum weft_service_flag {
	/* The endpoint set has WEFT_AFFINITY_BUCKETS entries, one for each bucket of client addresses. */
	WEFT_SERVICE_AFFINITY = 1,
};
struct weft_service {
	__u32 id;
	__u32 count;
	__u32 flags; /* enum weft_service_flag */
};
struct weft_endpoint_key {
	__u32 id;
	__u32 index; /* less than weft_service.count */
};
struct weft_endpoint {
	struct weft_ip ip;
	__be16 port;
	__u16 pad;
};

/*
 * weft_shares: network namespace cookie of a pod -> its use of the shared maps (share.h). The node's own namespace has no
 * share: root on the node is not bound by these limits.
 */
#define WEFT_SHARE_HANDOFFS 4096
#define WEFT_SHARE_LIVE 16384
/* Maximum events per window of 2^30 ns. */
#define WEFT_SHARE_EVENTS 64
#define WEFT_SHARE_WINDOW_SHIFT 30
/*
 * Maximum entries of weft_requests that one pod makes until the agent has taken them out (WEFT_NODE_REQUESTS). Beyond WEFT_SHARE_REQUESTS paths
 * are not told apart. When fewer entries are left of those of all pods, a pod makes at most as many as are left. The rest of the map is for
 * entries that are made while the agent takes others out.
 */
#define WEFT_SHARE_REQUESTS 512
#define WEFT_SHARE_REQUESTS_OTHER 128
#define WEFT_REQUESTS_MAX 16384
#define WEFT_REQUESTS_BY_PATH (WEFT_REQUESTS_MAX * 3 / 4)
#define WEFT_REQUESTS_IN_ALL (WEFT_REQUESTS_MAX * 15 / 16)
struct weft_share {
	__u32 notes; /* entries of weft_notes whose source is this pod */
	__u32 live; /* entries of weft_live whose source is this pod */
	__u32 events; /* events reported in `window` */
	__u32 window; /* ktime >> WEFT_SHARE_WINDOW_SHIFT */
	__u32 requests; /* entries of weft_requests made in `requests_turn` for flows whose source is this pod */
	__u32 requests_turn;
};

/* weft_live: open kernel flows, by the client socket's cookie. Index 0 of an array is the client's end. */
enum weft_live_flag {
	WEFT_LIVE_CLIENT_OPEN = 1,
	WEFT_LIVE_SERVER_OPEN = 2,
	WEFT_LIVE_CLIENT_CLOSED = 4,
	WEFT_LIVE_SERVER_CLOSED = 8,
	WEFT_LIVE_LEAVING = 16, /* an end is being closed: no more splicing */
	WEFT_LIVE_SPLICED = 32, /* an end is in the sockhash */
	WEFT_LIVE_CLIENT_FIN = 128, /* the client sent its FIN */
	WEFT_LIVE_SERVER_FIN = 256,
	WEFT_LIVE_BLOCKING = 512, /* an end uses blocking calls: no more splicing */
	WEFT_LIVE_OVERFLOWED = 64, /* a reader's queue reached the limit at least once */
	WEFT_LIVE_OBSERVED = 1024, /* one of its pods had WEFT_POD_OBSERVED when the flow began */
	WEFT_LIVE_IGNORED = 2048, /* what a spliced, observed flow carries is no HTTP */
};
struct weft_live {
	/* The fields from source to dialled_port are equal in records that differ only in client port and counts (flows.ts). */
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
	__u64 bytes[2]; /* bytes written by each end; until the end closes, only those that splice.bpf.c saw */
	__u64 spliced[2]; /* bytes of these that were spliced past TCP */
	__u64 sock[2]; /* kernel addresses of the sockets; 0: not spliced, or closed */
	__u64 cookie[2]; /* socket cookies */
	__u32 base[2]; /* each end's sequence number at establishment */
};

/* weft_flows (ring buffer): kernel flows that ended. Open ones are read from weft_live. */
struct weft_flow {
	__u64 time; /* ktime in ns */
	struct weft_live live;
};

/* weft_node (array of __u64) */
enum weft_node_slot {
	WEFT_NODE_COOKIE = 0, /* cookie of the node's own network namespace */
	WEFT_NODE_LEASE = 1, /* ktime in ns until which verdicts are valid; the agent renews it */
	WEFT_NODE_SPLICE_MAX = 2, /* maximum spliced bytes queued for one reader; 0: splicing is off */
	WEFT_NODE_SPLICE_PAGES_MAX = 3, /* pages of TCP memory, kernel-wide, above which nothing is spliced */
	WEFT_NODE_SPLICE_BLOCKING = 4, /* not 0: blocking sockets are spliced too */
	WEFT_NODE_TAKEOVER = 5, /* not 0: another build's programs still handle connect() (daemonset/datapath/generations.ts) */
	/*
	 * High 32 bits: how often the agent has taken out all entries of weft_requests. Low 32 bits: entries that the programs have made since. The
	 * agent's write sets them to those that were made while it took others out.
	 */
	WEFT_NODE_REQUESTS = 6,
	WEFT_NODE_SLOTS = 7,
};

/* Indexes of weft_count (per-CPU array) and reasons of events; docs/explain.md describes each */
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
	WEFT_HTTP_NOT_RECOGNIZED = 33,
	WEFT_HTTP_SHARE = 34,
	WEFT_HTTP_LOST = 35,
	WEFT_REASON_COUNT = 36,
};

/* HTTP methods that are recognized */
enum weft_method {
	WEFT_METHOD_OTHER = 0,
	WEFT_METHOD_GET = 1,
	WEFT_METHOD_HEAD = 2,
	WEFT_METHOD_POST = 3,
	WEFT_METHOD_PUT = 4,
	WEFT_METHOD_PATCH = 5,
	WEFT_METHOD_DELETE = 6,
	WEFT_METHOD_OPTIONS = 7,
	WEFT_METHOD_TRACE = 8,
	WEFT_METHOD_CONNECT = 9,
	WEFT_METHOD_COUNT = 10,
};

/* Upper bounds of latencies in microseconds: latencyBoundsMs of src/model/edge.ts */
enum weft_latency_us {
	WEFT_LATENCY_US_0 = 500,
	WEFT_LATENCY_US_1 = 1000,
	WEFT_LATENCY_US_2 = 5000,
	WEFT_LATENCY_US_3 = 10000,
	WEFT_LATENCY_US_4 = 25000,
	WEFT_LATENCY_US_5 = 50000,
	WEFT_LATENCY_US_6 = 100000,
	WEFT_LATENCY_US_7 = 250000,
	WEFT_LATENCY_US_8 = 500000,
	WEFT_LATENCY_US_9 = 1000000,
	WEFT_LATENCY_US_10 = 2500000,
	WEFT_LATENCY_US_11 = 5000000,
	WEFT_LATENCY_US_12 = 10000000,
	WEFT_LATENCY_US_13 = 30000000,
	WEFT_LATENCY_US_14 = 60000000,
};

/* weft_http: key of weft_live -> where the requests of an observed flow are. Written by the flow's two ends, each its own fields. */
#define WEFT_TEMPLATE_MAX 64
struct weft_http {
	__u64 began; /* ktime in ns of the request's first byte */
	__u32 state; /* enum http_state (http.h) */
	__u32 next[2]; /* sequence number after what was last looked at, of each end; only of what went over TCP */
	__u16 method; /* enum weft_method */
	__u16 pad;
	__u8 template[WEFT_TEMPLATE_MAX];
};

/* weft_requests: completed exchanges of observed flows since the agent last took the entry out */
struct weft_request_key {
	__u64 source; /* namespace cookies */
	__u64 destination;
	struct weft_ip dialled;
	__be16 dport;
	__be16 dialled_port;
	__u16 method; /* enum weft_method */
	__u16 status; /* 0: the flow ended before the response */
	__u8 template[WEFT_TEMPLATE_MAX]; /* padded with zeros; empty: the path is not told apart (WEFT_HTTP_SHARE) */
};
struct weft_requests {
	__u64 count;
	__u64 sum; /* ns */
	__u32 latency[16]; /* by weft_latency_us; the last is of those above */
};

/* weft_events (ring buffer): refused and dropped connections, with the reason */
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
_Static_assert(sizeof(struct weft_share) == 24, "layout");
_Static_assert(sizeof(struct weft_http) == 88, "layout");
_Static_assert(sizeof(struct weft_request_key) == 104, "layout");
_Static_assert(sizeof(struct weft_requests) == 80, "layout");

#endif
