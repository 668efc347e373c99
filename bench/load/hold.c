/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hold IP PORT COUNT: opens that many connections, one message to and fro on each, prints {"open":N}, waits until all of them
 * are ended by somebody else and prints {"ended":N,"last_ns":T} (CLOCK_MONOTONIC).
 */
#include "common.h"
#include <sys/resource.h>

#define COUNT_MAX 20000

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: hold IP PORT COUNT\n");
		return 2;
	}
	struct sockaddr_storage to;
	socklen_t length = numeric(argv[1], argv[2], &to);
	long count = number(argv[3], 1, COUNT_MAX, "COUNT"), ended = 0;
	struct rlimit files = {COUNT_MAX + 64, COUNT_MAX + 64};
	setrlimit(RLIMIT_NOFILE, &files);
	static struct pollfd all[COUNT_MAX];
	char byte = 'x';
	for (long i = 0; i < count; i++) {
		int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || connect(fd, (struct sockaddr *)&to, length))
			die("connection %ld to %s port %s", i, argv[1], argv[2]);
		if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1)
			die("no answer on connection %ld", i);
		all[i] = (struct pollfd){.fd = fd, .events = POLLIN};
	}
	printf("{\"open\":%ld}\n", count);
	fflush(stdout);
	uint64_t last = 0;
	while (ended < count) {
		if (poll(all, (nfds_t)count, 60000) <= 0)
			die("%ld of %ld ended", ended, count);
		last = now_ns();
		for (long i = 0; i < count; i++) {
			if (all[i].fd < 0 || !all[i].revents)
				continue;
			close(all[i].fd);
			all[i].fd = -1;
			ended++;
		}
	}
	printf("{\"ended\":%ld,\"last_ns\":%llu}\n", ended, (unsigned long long)last);
	return 0;
}
