/* SPDX-License-Identifier: Apache-2.0 */
/* What the load programs share: numeric addresses, a clock, pinning to a CPU, and giving up with a reason. */
#ifndef WEFT_BENCH_COMMON_H
#define WEFT_BENCH_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MESSAGE_BYTES_MAX 65536

__attribute__((noreturn, format(printf, 1, 2))) static inline void die(const char *format, ...)
{
	int saved = errno;
	va_list list;
	va_start(list, format);
	vfprintf(stderr, format, list);
	va_end(list);
	fprintf(stderr, ": %s\n", strerror(saved));
	exit(1);
}

static inline uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

/* A number from the command line within [min, max]; anything else ends the program. */
static inline long number(const char *text, long min, long max, const char *what)
{
	char *end;
	errno = 0;
	long value = strtol(text, &end, 10);
	if (errno || *end || end == text || value < min || value > max) {
		fprintf(stderr, "%s must be %ld..%ld, not %s\n", what, min, max, text);
		exit(2);
	}
	return value;
}

/* cpu < 0 leaves the scheduler its choice. */
static inline void pin(long cpu)
{
	if (cpu < 0)
		return;
	cpu_set_t set;
	CPU_ZERO(&set);
	CPU_SET((size_t)cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		die("pin to CPU %ld", cpu);
}

static inline socklen_t numeric(const char *ip, const char *port, struct sockaddr_storage *out)
{
	struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM}, *found;
	int code = getaddrinfo(ip, port, &hints, &found);
	if (code) {
		fprintf(stderr, "%s port %s: %s\n", ip, port, gai_strerror(code));
		exit(2);
	}
	socklen_t length = found->ai_addrlen;
	memcpy(out, found->ai_addr, length);
	freeaddrinfo(found);
	return length;
}

/* The whole of it on a socket that does not block; messages are small, so waiting here holds nobody up for long. */
static inline int send_all(int fd, const char *bytes, size_t size)
{
	while (size) {
		ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
		if (sent > 0) {
			bytes += sent;
			size -= (size_t)sent;
			continue;
		}
		struct pollfd out = {.fd = fd, .events = POLLOUT};
		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return -1;
		poll(&out, 1, 1000);
	}
	return 0;
}

/* A dual-stack listener that does not block. */
static inline int listen_on(long port)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1, off = 0;
	if (listener < 0)
		die("socket");
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 4096))
		die("listen on port %ld", port);
	return listener;
}

static inline void no_delay(int fd)
{
	int one = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
}

#endif
