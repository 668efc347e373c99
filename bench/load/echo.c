/* SPDX-License-Identifier: Apache-2.0 */
/* echo PORT CPU: sends back what comes, on any number of connections, one thread; closes when the client has closed. */
#include "common.h"
#include <sys/epoll.h>

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: echo PORT CPU\n");
		return 2;
	}
	int listener = listen_on(number(argv[1], 1, 65535, "PORT"));
	pin(number(argv[2], -1, 1023, "CPU"));
	signal(SIGPIPE, SIG_IGN);
	int poll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[256];
	if (poll < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event))
		die("epoll");
	static char bytes[MESSAGE_BYTES_MAX];
	for (;;) {
		int count = epoll_wait(poll, ready, 256, -1);
		for (int i = 0; i < count; i++) {
			int fd = ready[i].data.fd;
			if (fd == listener) {
				int accepted;
				while ((accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
					no_delay(accepted);
					event.events = EPOLLIN;
					event.data.fd = accepted;
					if (epoll_ctl(poll, EPOLL_CTL_ADD, accepted, &event))
						close(accepted);
				}
				continue;
			}
			ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
			if (got < 0 && (errno == EAGAIN || errno == EINTR))
				continue;
			if (got <= 0 || send_all(fd, bytes, (size_t)got))
				close(fd);
		}
	}
}
