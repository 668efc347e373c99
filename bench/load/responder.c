/* SPDX-License-Identifier: Apache-2.0 */
/*
 * responder [-c FILE] CPU BODY_BYTES NAME PORT [NAME PORT]...: answers every HTTP/1.1 request on 127.0.0.1 with the same 200, kept alive, one
 * thread; x-backend tells by which name. Requests have no bodies; any number of them may come in one piece, or one in many.
 * With -c FILE before all else it keeps how many it has answered in that file, an unsigned 64-bit number as the machine has it.
 */
#include "common.h"
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>

#define NAMES_MAX 16
#define FILES_MAX 65536
#define AT_ONCE_MAX 16

static struct answer {
	int listener;
	char *bytes; /* AT_ONCE_MAX of them, one after the other */
	size_t size;
} answers[NAMES_MAX];
static int names;
static uint64_t uncounted, *answered = &uncounted;
/* By descriptor: which answer, and how much of the empty line that ends a head has come. */
static unsigned char answer_of[FILES_MAX], ending[FILES_MAX];

static void listen_as(const char *name, const char *port, size_t body)
{
	struct answer *answer = &answers[names++];
	char head[512];
	int length = snprintf(head, sizeof(head),
			      "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nx-backend: %s\r\ncontent-length: %zu\r\n\r\n", name, body);
	answer->size = (size_t)length + body;
	answer->bytes = malloc(answer->size * AT_ONCE_MAX);
	if (!answer->bytes)
		die("memory");
	for (size_t i = 0; i < AT_ONCE_MAX; i++) {
		memcpy(answer->bytes + i * answer->size, head, (size_t)length);
		memset(answer->bytes + i * answer->size + length, 'x', body);
	}
	struct sockaddr_storage at;
	socklen_t at_length = numeric("127.0.0.1", port, &at);
	int on = 1;
	answer->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(answer->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	if (answer->listener < 0 || bind(answer->listener, (struct sockaddr *)&at, at_length) || listen(answer->listener, 4096))
		die("listen on port %s", port);
}

static void count_in(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(*answered)))
		die("%s", path);
	answered = mmap(NULL, sizeof(*answered), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (answered == MAP_FAILED)
		die("mmap");
	close(fd);
}

/* How many heads end in these bytes. */
static size_t heads_in(int fd, const char *bytes, size_t size)
{
	static const char end[] = "\r\n\r\n";
	size_t count = 0;
	unsigned char have = ending[fd];
	for (size_t i = 0; i < size; i++) {
		if (bytes[i] != end[have])
			have = bytes[i] == '\r';
		else if (++have == 4) {
			have = 0;
			count++;
		}
	}
	ending[fd] = have;
	return count;
}

int main(int argc, char **argv)
{
	if (argc > 2 && !strcmp(argv[1], "-c")) {
		count_in(argv[2]);
		argv += 2;
		argc -= 2;
	}
	if (argc < 5 || argc % 2 == 0 || argc > 3 + 2 * NAMES_MAX) {
		fprintf(stderr, "usage: responder [-c FILE] CPU BODY_BYTES NAME PORT [NAME PORT]...\n");
		return 2;
	}
	pin(number(argv[1], -1, 1023, "CPU"));
	size_t body = (size_t)number(argv[2], 0, 1 << 20, "BODY_BYTES");
	signal(SIGPIPE, SIG_IGN);
	int poll = epoll_create1(EPOLL_CLOEXEC);
	if (poll < 0)
		die("epoll");
	struct epoll_event event = {.events = EPOLLIN}, ready[256];
	for (int i = 3; i < argc; i += 2) {
		listen_as(argv[i], argv[i + 1], body);
		event.data.fd = answers[names - 1].listener;
		if (epoll_ctl(poll, EPOLL_CTL_ADD, event.data.fd, &event))
			die("epoll");
	}
	static char bytes[MESSAGE_BYTES_MAX];
	for (;;) {
		int count = epoll_wait(poll, ready, 256, -1);
		for (int i = 0; i < count; i++) {
			int fd = ready[i].data.fd, which = 0;
			while (which < names && answers[which].listener != fd)
				which++;
			if (which < names) {
				int accepted;
				while ((accepted = accept4(fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
					no_delay(accepted);
					event.data.fd = accepted;
					if (accepted >= FILES_MAX || epoll_ctl(poll, EPOLL_CTL_ADD, accepted, &event)) {
						close(accepted);
						continue;
					}
					answer_of[accepted] = (unsigned char)which;
					ending[accepted] = 0;
				}
				continue;
			}
			ssize_t got = recv(fd, bytes, sizeof(bytes), 0);
			if (got < 0 && (errno == EAGAIN || errno == EINTR))
				continue;
			int bad = got <= 0;
			const struct answer *answer = &answers[answer_of[fd]];
			for (size_t left = bad ? 0 : heads_in(fd, bytes, (size_t)got); left && !bad;) {
				size_t now = left < AT_ONCE_MAX ? left : AT_ONCE_MAX;
				bad = send_all(fd, answer->bytes, now * answer->size);
				left -= now;
				*answered += now;
			}
			if (bad)
				close(fd);
		}
	}
}
