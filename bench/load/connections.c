/* SPDX-License-Identifier: Apache-2.0 */
/*
 * connections IP PORT CPU MESSAGE_BYTES MILLISECONDS AT_ONCE: opens connections, each for one message to and fro (a proxy may
 * accept before the far end has), closes in order, AT_ONCE of them in flight; prints {"opened":N,"failed":N,"seconds":S,"per_second":R}.
 */
#include "common.h"
#include <sys/epoll.h>

#define AT_ONCE_MAX 1024
#define STUCK_MS 10000

static struct sockaddr_storage to;
static socklen_t to_length;
static size_t size;
static char message[MESSAGE_BYTES_MAX], answer[MESSAGE_BYTES_MAX];
static int poll_fd;
static struct slot {
	int fd;
	int connected;
	size_t have;
} slots[AT_ONCE_MAX];

static int begin(size_t at)
{
	struct slot *slot = &slots[at];
	*slot = (struct slot){.fd = socket(to.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0)};
	if (slot->fd < 0)
		die("socket");
	no_delay(slot->fd);
	struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.u64 = at};
	if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, slot->fd, &event))
		die("epoll");
	if (connect(slot->fd, (struct sockaddr *)&to, to_length) && errno != EINPROGRESS) {
		int saved = errno;
		close(slot->fd);
		slot->fd = -1;
		errno = saved;
		return -1;
	}
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 7) {
		fprintf(stderr, "usage: connections IP PORT CPU MESSAGE_BYTES MILLISECONDS AT_ONCE\n");
		return 2;
	}
	to_length = numeric(argv[1], argv[2], &to);
	pin(number(argv[3], -1, 1023, "CPU"));
	size = (size_t)number(argv[4], 1, MESSAGE_BYTES_MAX, "MESSAGE_BYTES");
	uint64_t for_ns = (uint64_t)number(argv[5], 1, 600000, "MILLISECONDS") * 1000000ull;
	size_t at_once = (size_t)number(argv[6], 1, AT_ONCE_MAX, "AT_ONCE");
	poll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (poll_fd < 0)
		die("epoll");
	uint64_t opened = 0, failed = 0, began = now_ns(), end = began + for_ns;
	for (size_t i = 0; i < at_once; i++)
		if (begin(i))
			die("connect to %s port %s", argv[1], argv[2]);
	struct epoll_event ready[AT_ONCE_MAX];
	uint64_t now = began;
	while (now < end) {
		int count = epoll_wait(poll_fd, ready, AT_ONCE_MAX, STUCK_MS);
		if (count == 0) {
			fprintf(stderr, "no connection moved for %d ms\n", STUCK_MS);
			return 1;
		}
		for (int i = 0; i < count; i++) {
			size_t at = (size_t)ready[i].data.u64;
			struct slot *slot = &slots[at];
			int done = 0, bad = (ready[i].events & EPOLLERR) != 0;
			if (!bad && !slot->connected && (ready[i].events & EPOLLOUT)) {
				slot->connected = 1;
				bad = send(slot->fd, message, size, MSG_NOSIGNAL) != (ssize_t)size;
			}
			while (!bad && !done && slot->connected) {
				ssize_t got = recv(slot->fd, answer, size - slot->have, 0);
				if (got < 0 && errno == EAGAIN)
					break;
				if (got <= 0)
					bad = 1;
				else
					done = (slot->have += (size_t)got) == size;
			}
			if (!bad && !done)
				continue;
			close(slot->fd);
			opened += (uint64_t)done;
			failed += (uint64_t)bad;
			if (failed > 100 && failed > opened) {
				fprintf(stderr, "%llu connections failed, %llu did not\n", (unsigned long long)failed, (unsigned long long)opened);
				return 1;
			}
			if (begin(at))
				die("connect to %s port %s", argv[1], argv[2]);
		}
		now = now_ns();
	}
	double seconds = (double)(now - began) / 1e9;
	printf("{\"opened\":%llu,\"failed\":%llu,\"seconds\":%.6f,\"per_second\":%.3f}\n", (unsigned long long)opened,
	       (unsigned long long)failed, seconds, (double)opened / seconds);
	return 0;
}
