/* SPDX-License-Identifier: Apache-2.0 */
/*
 * requests [-s SOURCES FIRST] [-r] IP PORT CPU PER_SECOND CONNECTIONS MILLISECONDS WARM_MILLISECONDS: HTTP/1.1 requests as independent clients send
 * them: at times that stand before the run begins (exponential gaps, always the same ones), whatever the answers do. What is
 * due while all connections wait for an answer is sent by the first that is free, and its clock runs from when it was due, so
 * that a server that stops is charged for what it held up. Prints {"requests":N,"per_second":R,"mean_us":..,"p50_us":..,
 * "p90_us":..,"p99_us":..,"p999_us":..,"max_us":..,"waited":N} (exact percentiles, nearest rank; waited: found no free
 * connection). The requests of the warm-up are sent and not counted. Ends with an error on any answer that is not a 200.
 * -s: connections are from SOURCES addresses in turn, 127.1.0.0 + FIRST and those that follow. -r: answers of 429 and 503 are no error;
 * "refused" says how many came.
 */
#include "common.h"
#include "times.h"
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#define CONNECTIONS_MAX 16384
#define KINDS 20
#define HEAD_BYTES_MAX 8192
#define STUCK_NS 10000000000ull

static struct connection {
	int fd;
	uint64_t due;
	uint64_t free_since;
	uint64_t body_left;
	size_t have;
	int in_body;
	char head[HEAD_BYTES_MAX];
} * all;
static size_t answered, waited, refused;
static int may_refuse;
static uint64_t count_from;
/* Connections that wait for a request, longest first. */
static size_t *idle, idle_from, idle_count, connections;
static char requests[KINDS][512];
static size_t request_size[KINDS];

static void put_idle(size_t at)
{
	idle[(idle_from + idle_count++) % connections] = at;
}

static void send_on(size_t at, uint64_t due, size_t kind)
{
	all[at].due = due;
	waited += all[at].free_since > due && due >= count_from;
	if (send_all(all[at].fd, requests[kind], request_size[kind]))
		die("send");
}

/* True once the answer is complete. */
static int take(struct connection *c, const char *bytes, size_t size)
{
	while (size && !c->in_body) {
		if (c->have == HEAD_BYTES_MAX - 1) {
			fprintf(stderr, "an answer's head is too long\n");
			exit(1);
		}
		c->head[c->have++] = *bytes++;
		size--;
		if (c->have < 4 || memcmp(c->head + c->have - 4, "\r\n\r\n", 4))
			continue;
		c->head[c->have] = 0;
		const char *length = strcasestr(c->head, "\r\ncontent-length:");
		int is_refusal = may_refuse && (!strncmp(c->head, "HTTP/1.1 429", 12) || !strncmp(c->head, "HTTP/1.1 503", 12));
		refused += is_refusal && c->due >= count_from;
		if ((strncmp(c->head, "HTTP/1.1 200", 12) && !is_refusal) || !length) {
			fprintf(stderr, "not a 200 with a length: %s\n", c->head);
			exit(1);
		}
		c->body_left = strtoull(length + 17, NULL, 10);
		c->in_body = 1;
	}
	if (size > c->body_left) {
		fprintf(stderr, "more came than was asked for\n");
		exit(1);
	}
	c->body_left -= size;
	return c->in_body && c->body_left == 0;
}

int main(int argc, char **argv)
{
	uint32_t sources = 0, first = 0;
	if (argc > 3 && !strcmp(argv[1], "-s")) {
		sources = (uint32_t)number(argv[2], 1, 65536, "SOURCES");
		first = (uint32_t)number(argv[3], 1, 65536, "FIRST");
		argv += 3;
		argc -= 3;
	}
	if (argc > 1 && !strcmp(argv[1], "-r")) {
		may_refuse = 1;
		argv++;
		argc--;
	}
	if (argc != 8) {
		fprintf(stderr, "usage: requests [-s SOURCES FIRST] [-r] IP PORT CPU PER_SECOND CONNECTIONS MILLISECONDS WARM_MILLISECONDS\n");
		return 2;
	}
	struct sockaddr_storage to;
	socklen_t to_length = numeric(argv[1], argv[2], &to);
	pin(number(argv[3], -1, 1023, "CPU"));
	long per_second = number(argv[4], 1, 1000000, "PER_SECOND");
	connections = (size_t)number(argv[5], 1, CONNECTIONS_MAX, "CONNECTIONS");
	uint64_t for_ns = (uint64_t)number(argv[6], 1, 600000, "MILLISECONDS") * 1000000ull;
	uint64_t warm_ns = (uint64_t)number(argv[7], 0, 600000, "WARM_MILLISECONDS") * 1000000ull;
	struct rlimit files;
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	/* The default slack of 50 us would be half the latency that is measured. */
	prctl(PR_SET_TIMERSLACK, 1);
	all = calloc(connections, sizeof(*all));
	idle = calloc(connections, sizeof(*idle));
	if (!all || !idle)
		die("memory");
	/* As bench/waypoint/load.lua has them. */
	for (size_t i = 0; i < KINDS; i++) {
		char path[64];
		snprintf(path, sizeof(path), i % 2 ? "/p%zu/item?page=%zu" : "/item/%zu?page=%zu", i % 2 ? i * 263 : i, i);
		request_size[i] = (size_t)snprintf(requests[i], sizeof(requests[i]),
						   "GET %s HTTP/1.1\r\nhost: main.d.svc\r\nuser-agent: bench\r\naccept: */*\r\n%s\r\n", path,
						   i % 10 == 0 ? "x-canary: yes\r\n" : "");
	}
	int poll = epoll_create1(EPOLL_CLOEXEC);
	if (poll < 0)
		die("epoll");
	for (size_t i = 0; i < connections; i++) {
		all[i].fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
		struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f010000 + first + (sources ? (uint32_t)i % sources : 0))};
		if (sources && bind(all[i].fd, (struct sockaddr *)&from, sizeof(from)))
			die("bind connection %zu", i);
		if (all[i].fd < 0 || connect(all[i].fd, (struct sockaddr *)&to, to_length))
			die("connection %zu to %s port %s", i, argv[1], argv[2]);
		no_delay(all[i].fd);
		struct epoll_event event = {.events = EPOLLIN, .data.u64 = i};
		if (epoll_ctl(poll, EPOLL_CTL_ADD, all[i].fd, &event))
			die("epoll");
		put_idle(i);
	}
	static char bytes[MESSAGE_BYTES_MAX];
	static struct epoll_event ready[512];
	double gap_ns = 1e9 / (double)per_second;
	uint64_t began = now_ns(), end = began + warm_ns + for_ns, now = began, last = began;
	count_from = began + warm_ns;
	double due = (double)began;
	size_t sent = 0;
	while (due < (double)end || answered < sent) {
		while (due <= (double)now && due < (double)end && idle_count) {
			size_t at = idle[idle_from];
			idle_from = (idle_from + 1) % connections;
			idle_count--;
			send_on(at, (uint64_t)due, sent++ % KINDS);
			due += gap_ns * exponential();
		}
		struct timespec wait = {.tv_sec = 1};
		if (due < (double)end && idle_count) {
			now = now_ns();
			uint64_t left = due > (double)now ? (uint64_t)(due - (double)now) : 0;
			wait = (struct timespec){.tv_sec = (time_t)(left / 1000000000ull), .tv_nsec = (long)(left % 1000000000ull)};
		}
		int count = epoll_pwait2(poll, ready, 512, &wait, NULL);
		now = now_ns();
		if (count > 0)
			last = now;
		else if (sent > answered && now - last > STUCK_NS) {
			fprintf(stderr, "no answer for 10 s, %zu of %zu requests wait for one\n", sent - answered, sent);
			return 1;
		}
		for (int i = 0; i < count; i++) {
			size_t at = (size_t)ready[i].data.u64;
			struct connection *c = &all[at];
			ssize_t got = recv(c->fd, bytes, sizeof(bytes), MSG_DONTWAIT);
			if (got < 0 && (errno == EAGAIN || errno == EINTR))
				continue;
			if (got <= 0) {
				fprintf(stderr, "connection %zu was ended by the other side\n", at);
				return 1;
			}
			if (!take(c, bytes, (size_t)got))
				continue;
			c->free_since = now_ns();
			answered++;
			if (c->due >= count_from)
				keep_time(c->free_since - c->due);
			c->have = 0;
			c->in_body = 0;
			put_idle(at);
		}
		now = now_ns();
	}
	if (times_count == 0) {
		fprintf(stderr, "no request ended in time\n");
		return 1;
	}
	printf("{\"requests\":%zu,\"per_second\":%.1f,", times_count, (double)times_count / ((double)for_ns / 1e9));
	print_times();
	printf(",\"waited\":%zu,\"refused\":%zu}\n", waited, refused);
	return 0;
}
