/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bulk IP PORT CPU WRITE_BYTES MILLISECONDS STREAMS: writes to `sink` on that many connections, sockets that do not block, until
 * the time is over; then ends them and waits until the sink has read all of it. Prints {"bytes":N,"seconds":S,"gbit_per_second":R}.
 */
#include "common.h"
#include <fcntl.h>

#define STREAMS_MAX 256
#define WRITE_BYTES_MAX (1 << 20)

int main(int argc, char **argv)
{
	if (argc != 7) {
		fprintf(stderr, "usage: bulk IP PORT CPU WRITE_BYTES MILLISECONDS STREAMS\n");
		return 2;
	}
	struct sockaddr_storage to;
	socklen_t length = numeric(argv[1], argv[2], &to);
	pin(number(argv[3], -1, 1023, "CPU"));
	size_t size = (size_t)number(argv[4], 1, WRITE_BYTES_MAX, "WRITE_BYTES");
	uint64_t for_ns = (uint64_t)number(argv[5], 1, 600000, "MILLISECONDS") * 1000000ull;
	nfds_t streams = (nfds_t)number(argv[6], 1, STREAMS_MAX, "STREAMS");
	static char block[WRITE_BYTES_MAX];
	static struct pollfd all[STREAMS_MAX];
	memset(block, 'x', size);
	for (nfds_t i = 0; i < streams; i++) {
		int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		if (fd < 0 || connect(fd, (struct sockaddr *)&to, length))
			die("connect to %s port %s", argv[1], argv[2]);
		fcntl(fd, F_SETFL, O_NONBLOCK);
		all[i] = (struct pollfd){.fd = fd, .events = POLLOUT};
	}
	uint64_t bytes = 0, began = now_ns();
	while (now_ns() - began < for_ns) {
		if (poll(all, streams, 1000) < 0 && errno != EINTR)
			die("poll");
		for (nfds_t i = 0; i < streams; i++) {
			if (!all[i].revents)
				continue;
			ssize_t sent = send(all[i].fd, block, size, MSG_NOSIGNAL);
			if (sent > 0)
				bytes += (uint64_t)sent;
			else if (errno != EAGAIN && errno != EINTR)
				die("send after %llu bytes", (unsigned long long)bytes);
		}
	}
	for (nfds_t i = 0; i < streams; i++)
		shutdown(all[i].fd, SHUT_WR);
	for (nfds_t i = 0; i < streams; i++) {
		struct pollfd end = {.fd = all[i].fd, .events = POLLIN};
		if (poll(&end, 1, 30000) <= 0 || recv(all[i].fd, block, 1, 0) != 0)
			die("the sink did not read to the end");
	}
	double seconds = (double)(now_ns() - began) / 1e9;
	printf("{\"bytes\":%llu,\"seconds\":%.6f,\"gbit_per_second\":%.6f}\n", (unsigned long long)bytes, seconds,
	       (double)bytes * 8 / seconds / 1e9);
	return 0;
}
