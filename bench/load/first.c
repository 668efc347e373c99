/* SPDX-License-Identifier: Apache-2.0 */
/* first IP PORT CPU: one connection with one message to and fro; prints {"us":T}, from connect() to the answer. */
#include "common.h"

int main(int argc, char **argv)
{
	if (argc != 4) {
		fprintf(stderr, "usage: first IP PORT CPU\n");
		return 2;
	}
	struct sockaddr_storage to;
	socklen_t length = numeric(argv[1], argv[2], &to);
	pin(number(argv[3], -1, 1023, "CPU"));
	char byte = 'x';
	int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint64_t began = now_ns();
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, length))
		die("connect to %s port %s", argv[1], argv[2]);
	if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1 || recv(fd, &byte, 1, 0) != 1)
		die("no answer");
	printf("{\"us\":%.3f}\n", (double)(now_ns() - began) / 1000);
	return 0;
}
