// SPDX-License-Identifier: GPL-2.0 OR Apache-2.0
/*
 * setsockopt(): options that are incompatible with splicing. If one is set before the connection is established, the
 * connection stays on TCP. If one is set on a spliced connection, it is refused as by a kernel without the option, or the
 * connection goes back to TCP.
 */
#include "lib/maps.h"

#define SOL_SOCKET 1
#define SOL_TCP 6
#define SO_RCVLOWAT 18
#define SO_ZEROCOPY 60
#define TCP_REPAIR 19
#define TCP_ULP 31
#define ENOENT 2
#define EOPNOTSUPP 95

static __always_inline int concerns(const struct bpf_sockopt *ctx)
{
	if (ctx->level == SOL_SOCKET)
		return ctx->optname == SO_RCVLOWAT || ctx->optname == SO_ZEROCOPY;
	return ctx->level == SOL_TCP && (ctx->optname == TCP_ULP || ctx->optname == TCP_REPAIR);
}

static __always_inline int deny(int error)
{
	bpf_set_retval(-error);
	return 0;
}

SEC("cgroup/setsockopt")
int weft_setsockopt(struct bpf_sockopt *ctx)
{
	if (!concerns(ctx))
		return 1;
	struct bpf_sock *sk = ctx->sk;
	__u64 cookie = bpf_get_netns_cookie(ctx);
	if (!sk)
		return 1;
	/* A generation that another one took over from has no pods left, but may still have kernel flows. */
	if (bpf_map_lookup_elem(&weft_pods, &cookie)) {
		struct weft_sock *made = bpf_sk_storage_get(&weft_sock, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
		/* Sockets accepted from a listener inherit this. */
		if (made)
			made->flags |= WEFT_SOCK_UNSPLICED;
	}
	struct weft_sock *state = bpf_sk_storage_get(&weft_sock, sk, 0, 0);
	__u64 id = state ? state->live : 0;
	struct weft_live *live = bpf_map_lookup_elem(&weft_live, &id);
	if (!live || !(live->flags & WEFT_LIVE_SPLICED))
		return 1;
	/* Kernel TLS and zero-copy completions do not work on spliced sockets; applications fall back on these errors. */
	if (ctx->level == SOL_TCP && ctx->optname == TCP_ULP)
		return deny(ENOENT);
	if (ctx->level == SOL_SOCKET && ctx->optname == SO_ZEROCOPY)
		return deny(EOPNOTSUPP);
	__sync_fetch_and_or(&live->flags, WEFT_LIVE_LEAVING);
	return 1;
}

char _license[] SEC("license") = "Dual BSD/GPL";
