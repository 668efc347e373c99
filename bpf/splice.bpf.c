// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * sk_msg: redirects the writes of one end of a kernel flow to the other end's receive queue. That queue has no back-pressure,
 * so it is used only while it holds few bytes; beyond the limit the bytes go over TCP, which has back-pressure.
 */
#include "lib/flow.h"
#include "lib/node.h"
#include "lib/http.h"
#include <bpf/bpf_core_read.h>

/* Parts of the kernel's structs; CO-RE relocates the fields. */
struct file___w {
	unsigned int f_flags;
} __attribute__((preserve_access_index));

struct socket___w {
	struct file___w *file;
} __attribute__((preserve_access_index));

struct proto___w {
	void *memory_allocated;
} __attribute__((preserve_access_index));

struct sock_common___w {
	struct proto___w *skc_prot;
} __attribute__((preserve_access_index));

struct sock___w {
	struct sock_common___w __sk_common;
	struct socket___w *sk_socket;
	struct {
		struct {
			int counter;
		} rmem_alloc;
	} sk_backlog;
} __attribute__((preserve_access_index));

struct tcp_sock___w {
	__u32 write_seq;
	__u32 copied_seq;
} __attribute__((preserve_access_index));

struct sk_msg___w {
	void *data;
} __attribute__((preserve_access_index));

#define O_NONBLOCK 04000

enum blocking { WAITS_NOT, MAY_WAIT, NOT_ACCEPTED };

/*
 * Whether calls on a socket may block. For a socket in a sockhash, the kernel's recvmsg() returns EAGAIN to a blocked reader
 * that is woken by a signal or by free space in the send buffer. Non-blocking applications expect EAGAIN; others fail.
 */
static __always_inline enum blocking waits(__u64 sock)
{
	struct file___w *file = BPF_CORE_READ((struct sock___w *)sock, sk_socket, file);
	if (!file)
		return NOT_ACCEPTED;
	return BPF_CORE_READ(file, f_flags) & O_NONBLOCK ? WAITS_NOT : MAY_WAIT;
}

/*
 * Whether `waiting` bytes may be queued for a reader. Two limits apply: bytes per reader, and pages of TCP memory of the whole
 * kernel. The second uses the kernel's own counter, which includes redirected bytes (each CPU may be 1 MiB ahead of it). A
 * separate counter would be inexact: no program runs when a reader takes bytes.
 */
static __always_inline int room(__u64 sock, __u64 waiting)
{
	if (waiting > node_slot(WEFT_NODE_SPLICE_MAX))
		return 0;
	void *held = BPF_CORE_READ((struct sock___w *)sock, __sk_common.skc_prot, memory_allocated);
	/* The counter is negative when the per-CPU reserves are ahead of it. */
	__s64 pages;
	if (bpf_probe_read_kernel(&pages, sizeof(pages), held))
		return 0;
	return pages < (__s64)node_slot(WEFT_NODE_SPLICE_PAGES_MAX);
}

/*
 * What one end of an observed flow sends, also what then goes over TCP. Heads are looked for only where one may begin. sendfile() makes
 * messages whose bytes are not in the program's reach until they are pulled.
 */
static __always_inline void observe(struct sk_msg_md *msg, __u64 id, struct weft_live *live, int side)
{
	struct weft_http *http = bpf_map_lookup_elem(&weft_http, &id);
	if (!http || !http_expects(http, side))
		return;
	__u32 size = msg->size;
	__u32 most = http_wants(http, side);
	__u32 wanted = size < most ? size : most;
	if (msg->data + wanted > msg->data_end && bpf_msg_pull_data(msg, 0, wanted, 0))
		wanted = 0;
	struct http_source source = { .data = (__u64)BPF_CORE_READ((struct sk_msg___w *)msg, data), .size = wanted };
	http_message(http, live, side, &source);
	if (http->state != HTTP_IGNORED)
		return;
	/* Later messages of this flow cost no look at its state. It stays until the flow ends: the other end may be in the midst of using it. */
	__sync_fetch_and_or(&live->flags, WEFT_LIVE_IGNORED);
}

SEC("sk_msg")
int weft_splice(struct sk_msg_md *msg)
{
	struct bpf_sock *sk = msg->sk;
	struct weft_sock *state = sk ? bpf_sk_storage_get(&weft_sock, sk, 0, 0) : 0;
	if (!state)
		return SK_PASS;
	__u64 id = state->live;
	struct weft_live *live = bpf_map_lookup_elem(&weft_live, &id);
	if (!live)
		return SK_PASS;
	int side = state->kind == WEFT_SOCK_KERNEL_ACCEPTED;
	__u64 size = msg->size;
	__u64 own, peer;
	int first = !(side ? live->bytes[1] : live->bytes[0]);
	if (side) {
		__sync_fetch_and_add(&live->bytes[1], size);
		own = live->sock[1];
		peer = live->sock[0];
	} else {
		__sync_fetch_and_add(&live->bytes[0], size);
		own = live->sock[0];
		peer = live->sock[1];
	}
	if ((live->flags & (WEFT_LIVE_OBSERVED | WEFT_LIVE_IGNORED)) == WEFT_LIVE_OBSERVED)
		observe(msg, id, live, side);
	struct weft_note_key to = flow_end_key(live, !side);
	if (!own || !peer || (live->flags & (WEFT_LIVE_LEAVING | WEFT_LIVE_BLOCKING)))
		return SK_PASS;
	if (!node_slot(WEFT_NODE_SPLICE_BLOCKING)) {
		enum blocking here = waits(own), there = waits(peer);
		/* Between accept() and fcntl() a server's socket looks blocking: the first message does not set the flag. */
		if (here == MAY_WAIT || (there == MAY_WAIT && !first))
			__sync_fetch_and_or(&live->flags, WEFT_LIVE_BLOCKING);
		if (here != WAITS_NOT || there != WAITS_NOT)
			return SK_PASS;
	}
	/* The reader drains its spliced queue before its TCP queue: no spliced byte may overtake bytes sent over TCP. */
	__u32 sent = BPF_CORE_READ((struct tcp_sock___w *)own, write_seq);
	__u32 read = BPF_CORE_READ((struct tcp_sock___w *)peer, copied_seq);
	if (sent != read)
		return SK_PASS;
	__u64 waiting = BPF_CORE_READ((struct sock___w *)peer, sk_backlog.rmem_alloc.counter);
	if (!room(peer, waiting + size)) {
		if (!(live->flags & WEFT_LIVE_OVERFLOWED)) {
			__sync_fetch_and_or(&live->flags, WEFT_LIVE_OVERFLOWED);
			count(WEFT_SPLICE_OVERFLOWED);
		}
		return SK_PASS;
	}
	/* If the other end is closed, the lookup fails and there is no redirect: SK_PASS then sends over TCP. */
	if (bpf_msg_redirect_hash(msg, &weft_ends, &to, BPF_F_INGRESS) == SK_PASS) {
		if (side)
			__sync_fetch_and_add(&live->spliced[1], size);
		else
			__sync_fetch_and_add(&live->spliced[0], size);
	}
	return SK_PASS;
}

char _license[] SEC("license") = "Dual BSD/GPL";
