/* SPDX-License-Identifier: Apache-2.0 */
/* echo PORT CPU: sends back what comes, on any number of connections, one thread; closes when the client has closed. */
#include "serve.h"

static int send_back(int fd)
{
	static char bytes[MESSAGE_BYTES_MAX];
	ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 1;
	return got > 0 && !send_all(fd, bytes, (size_t)got);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: echo PORT CPU\n");
		return 2;
	}
	int listener = listen_on(number(argv[1], 1, 65535, "PORT"));
	pin(number(argv[2], -1, 1023, "CPU"));
	signal(SIGPIPE, SIG_IGN);
	serve(listener, no_delay, send_back);
}
