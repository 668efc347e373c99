/* SPDX-License-Identifier: Apache-2.0 */
/*
 * answers IP PORT MILLISECONDS: opens a connection with a byte to and fro, again and again, until one is answered or the time is
 * over; prints {"answered_ns":T} (CLOCK_MONOTONIC). An attempt has 200 ms, the next begins 5 ms after the one before failed.
 */
#include "common.h"

#define ATTEMPT_MS 200
#define PAUSE_NS 5000000l

static int ready(int fd, short events)
{
	struct pollfd one = {.fd = fd, .events = events};
	return poll(&one, 1, ATTEMPT_MS) == 1 && (one.revents & events);
}

static int answered(const struct sockaddr_storage *to, socklen_t length)
{
	char byte = 'x';
	int fd = socket(to->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		die("socket");
	int good = (connect(fd, (const struct sockaddr *)to, length) == 0 || errno == EINPROGRESS) && ready(fd, POLLOUT) &&
		   send(fd, &byte, 1, MSG_NOSIGNAL) == 1 && ready(fd, POLLIN) && recv(fd, &byte, 1, 0) == 1;
	close(fd);
	return good;
}

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: answers IP PORT MILLISECONDS\n");
		return 2;
	}
	struct sockaddr_storage to;
	socklen_t length = numeric(argv[1], argv[2], &to);
	uint64_t end = now_ns() + (uint64_t)number(argv[3], 1, 600000, "MILLISECONDS") * 1000000ull;
	struct timespec pause = {.tv_nsec = PAUSE_NS};
	while (!answered(&to, length)) {
		if (now_ns() > end) {
			fprintf(stderr, "no answer from %s port %s\n", argv[1], argv[2]);
			return 1;
		}
		nanosleep(&pause, NULL);
	}
	printf("{\"answered_ns\":%llu}\n", (unsigned long long)now_ns());
	return 0;
}
