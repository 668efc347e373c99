/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/* Addresses in the normal form of abi.h, for both address families. */
#ifndef WEFT_IP_H
#define WEFT_IP_H

#include <linux/types.h>
#include <bpf/bpf_endian.h>
#include "abi.h"

static __always_inline struct weft_ip ip_from4(__be32 address)
{
	struct weft_ip ip = { .bytes = { [10] = 0xff, [11] = 0xff } };
	__builtin_memcpy(&ip.bytes[12], &address, 4);
	return ip;
}

static __always_inline struct weft_ip ip_from6(__u32 a, __u32 b, __u32 c, __u32 d)
{
	struct weft_ip ip;
	__u32 words[4] = { a, b, c, d };
	__builtin_memcpy(ip.bytes, words, 16);
	return ip;
}

static __always_inline __u32 ip_word(const struct weft_ip *ip, int index)
{
	__u32 word;
	__builtin_memcpy(&word, &ip->bytes[index * 4], 4);
	return word;
}

static __always_inline int ip_is_v4(const struct weft_ip *ip)
{
	return ip_word(ip, 0) == 0 && ip_word(ip, 1) == 0 && ip_word(ip, 2) == bpf_htonl(0xffff);
}

static __always_inline int ip_is_zero(const struct weft_ip *ip)
{
	return (ip_word(ip, 0) | ip_word(ip, 1) | ip_word(ip, 2) | ip_word(ip, 3)) == 0;
}

/* 127.0.0.0/8, ::1, and the unspecified addresses, which connect() treats as loopback. */
static __always_inline int ip_is_loopback(const struct weft_ip *ip)
{
	if (ip_is_v4(ip))
		return ip->bytes[12] == 127 || ip_word(ip, 3) == 0;
	return (ip_word(ip, 0) | ip_word(ip, 1) | ip_word(ip, 2)) == 0 &&
	       (ip_word(ip, 3) == bpf_htonl(1) || ip_word(ip, 3) == 0);
}

#endif
