/* SPDX-License-Identifier: Apache-2.0 */
/*
 * echo PORT CPU [http]: sends back what comes, on any number of connections, one thread; closes when the client has closed. http: what begins
 * like a request comes back as a response.
 */
#include "serve.h"

static int http;

static int send_back(int fd)
{
	static char bytes[MESSAGE_BYTES_MAX];
	ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return 1;
	static const char status[] = "HTTP/1.1 200 OK\r\nx: ";
	if (http && got >= (ssize_t)sizeof(status) && !memcmp(bytes, "GET ", 4))
		memcpy(bytes, status, sizeof(status) - 1);
	return got > 0 && !send_all(fd, bytes, (size_t)got);
}

int main(int argc, char **argv)
{
	http = argc == 4 && !strcmp(argv[3], "http");
	if (argc != 3 + http) {
		fprintf(stderr, "usage: echo PORT CPU [http]\n");
		return 2;
	}
	int listener = listen_on(number(argv[1], 1, 65535, "PORT"));
	pin(number(argv[2], -1, 1023, "CPU"));
	signal(SIGPIPE, SIG_IGN);
	serve(listener, no_delay, send_back);
}
