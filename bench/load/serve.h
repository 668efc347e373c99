/* SPDX-License-Identifier: Apache-2.0 */
/* One thread that serves any number of connections by epoll. */
#ifndef WEFT_BENCH_SERVE_H
#define WEFT_BENCH_SERVE_H

#include "common.h"
#include <sys/epoll.h>

#define EVENTS_MAX 256

static inline void accept_all(int poll, int listener, void (*accepted)(int fd))
{
	int fd;
	while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
		struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
		if (accepted)
			accepted(fd);
		if (epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event))
			close(fd);
	}
}

/*
 * Accepts connections for ever. `accepted` may prepare a new one and may be NULL. `readable` reads from a connection once; the
 * connection is closed where it returns 0.
 */
__attribute__((noreturn)) static inline void serve(int listener, void (*accepted)(int fd), int (*readable)(int fd))
{
	int poll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[EVENTS_MAX];
	if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event))
		die("epoll");
	for (;;) {
		int count = epoll_wait(poll, ready, EVENTS_MAX, -1);
		for (int i = 0; i < count; i++) {
			int fd = ready[i].data.fd;
			if (fd == listener)
				accept_all(poll, listener, accepted);
			else if (!readable(fd))
				close(fd);
		}
	}
}

#endif
