/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay PORT CPU IP IP_PORT: listens where it is started, in a pod's namespace, and connects from that of who started it: an
 * application that runs on this machine answers as if it were in the pod. One thread; bytes are copied once.
 */
#include "common.h"
#include <fcntl.h>
#include <sys/epoll.h>

#define PAIRS_MAX 8192
#define BUFFER_BYTES 65536

struct side {
	struct side *peer;
	int fd;
	int connecting;
	int read_over;
	int writing;
	size_t from, to;
	char bytes[BUFFER_BYTES];
};

static int poll_fd;
static size_t pairs;

static void watch(struct side *s, int op)
{
	struct epoll_event event = {.data.ptr = s};
	/* Bytes are read where the other side has room for them. */
	if (!s->connecting && !s->read_over && s->peer->to == 0 && !s->peer->connecting)
		event.events |= EPOLLIN;
	if (s->connecting || s->to > 0)
		event.events |= EPOLLOUT;
	epoll_ctl(poll_fd, op, s->fd, &event);
}

static void both(struct side *s)
{
	watch(s, EPOLL_CTL_MOD);
	watch(s->peer, EPOLL_CTL_MOD);
}

/* `to` and `from` bound what is yet to be written to s. */
static int flush(struct side *s)
{
	while (s->from < s->to) {
		ssize_t sent = send(s->fd, s->bytes + s->from, s->to - s->from, MSG_NOSIGNAL);
		if (sent < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		s->from += (size_t)sent;
	}
	s->from = s->to = 0;
	if (s->peer->read_over && !s->writing) {
		s->writing = 1;
		shutdown(s->fd, SHUT_WR);
	}
	return 0;
}

/* -1 where the pair is over. */
static int step(struct side *s, uint32_t events)
{
	if (s->connecting && events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
		int failed = 0;
		socklen_t size = sizeof(failed);
		getsockopt(s->fd, SOL_SOCKET, SO_ERROR, &failed, &size);
		if (failed)
			return -1;
		s->connecting = 0;
	}
	if (s->to > 0 && flush(s))
		return -1;
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR) && !s->read_over && s->peer->to == 0 && !s->peer->connecting) {
		ssize_t got = recv(s->fd, s->peer->bytes, BUFFER_BYTES, 0);
		if (got < 0 && errno != EAGAIN && errno != EINTR)
			return -1;
		if (got == 0)
			s->read_over = 1;
		if (got > 0)
			s->peer->to = (size_t)got;
		if (got >= 0 && flush(s->peer))
			return -1;
	}
	return s->writing && s->peer->writing ? -1 : 0;
}

int main(int argc, char **argv)
{
	if (argc != 5) {
		fprintf(stderr, "usage: relay PORT CPU IP IP_PORT\n");
		return 2;
	}
	int listener = listen_on(number(argv[1], 1, 65535, "PORT"));
	pin(number(argv[2], -1, 1023, "CPU"));
	struct sockaddr_storage to;
	socklen_t to_length = numeric(argv[3], argv[4], &to);
	/* The listener stays where it was made; what is connected from here on belongs to the machine. */
	char path[64];
	snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)getppid());
	int machine = open(path, O_RDONLY | O_CLOEXEC);
	if (machine < 0 || setns(machine, CLONE_NEWNET))
		die("join the network namespace of who started this");
	signal(SIGPIPE, SIG_IGN);
	poll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = {.events = EPOLLIN}, ready[256];
	if (poll_fd < 0 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, listener, &event))
		die("epoll");
	for (;;) {
		int count = epoll_wait(poll_fd, ready, 256, -1);
		struct side *over[256];
		size_t over_count = 0;
		for (int i = 0; i < count; i++) {
			struct side *s = ready[i].data.ptr;
			if (s) {
				int ended = 0;
				/* The other half of a pair that has ended in this very turn. */
				for (size_t k = 0; k < over_count; k++)
					ended |= over[k] == s || over[k] == s->peer;
				if (ended)
					continue;
				if (step(s, ready[i].events))
					over[over_count++] = s;
				else
					both(s);
				continue;
			}
			int accepted;
			while ((accepted = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
				struct side *near = pairs < PAIRS_MAX ? calloc(1, sizeof(*near)) : NULL;
				struct side *far = near ? calloc(1, sizeof(*far)) : NULL;
				int fd = far ? socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
				if (fd < 0 || (connect(fd, (struct sockaddr *)&to, to_length) && errno != EINPROGRESS)) {
					close(accepted);
					if (fd >= 0)
						close(fd);
					free(near);
					free(far);
					continue;
				}
				no_delay(accepted);
				no_delay(fd);
				*near = (struct side){.peer = far, .fd = accepted};
				far->peer = near;
				far->fd = fd;
				far->connecting = 1;
				pairs++;
				watch(near, EPOLL_CTL_ADD);
				watch(far, EPOLL_CTL_ADD);
			}
		}
		for (size_t k = 0; k < over_count; k++) {
			struct side *s = over[k];
			close(s->fd);
			close(s->peer->fd);
			free(s->peer);
			free(s);
			pairs--;
		}
	}
}
