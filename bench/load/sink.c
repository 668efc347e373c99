/* SPDX-License-Identifier: Apache-2.0 */
/* sink PORT CPU: reads what comes and throws it away, on any number of connections, one thread; closes when the client has closed. */
#include "serve.h"

#define READ_BYTES (256 << 10)

static int discard(int fd)
{
	static char bytes[READ_BYTES];
	ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
	return got > 0 || (got < 0 && (errno == EAGAIN || errno == EINTR));
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: sink PORT CPU\n");
		return 2;
	}
	int listener = listen_on(number(argv[1], 1, 65535, "PORT"));
	pin(number(argv[2], -1, 1023, "CPU"));
	serve(listener, NULL, discard);
}
