/* SPDX-License-Identifier: Apache-2.0 */
/*
 * soak serve PORT | soak drive IP PORT CONNECTIONS SECONDS SEED
 *
 * Drives non-blocking connections from the client's side. A seed decides how much is sent in each direction, the sizes of the pieces,
 * the pauses of the writers and the readers, and which end ends first and how. Every byte encodes its position in its stream, so that a
 * lost, duplicated or reordered byte is found at its position. `drive` prints one JSON object; exit code 1 if a byte was wrong.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define ENDS_MAX 4096
#define PIECE_MAX (256 << 10)

enum ending { IN_ORDER, RESET, STAYS_SILENT };

/* The plan that the client sends to the server first; it covers both directions. */
struct plan {
	uint64_t seed;
	uint64_t up, down; /* bytes */
	uint32_t ending; /* how the client ends */
	uint32_t slow_server; /* the server reads little at a time, with pauses */
};

struct end {
	int fd, server, used;
	struct plan plan;
	size_t planned; /* bytes of the plan sent or received */
	uint64_t state; /* state of this end's random numbers */
	uint64_t to_write, written, to_read, got;
	uint64_t write_not_before, read_not_before; /* ns */
	int wrote_all, read_all;
	uint32_t slow_reader;
};

static struct end ends[ENDS_MAX];
static char piece[PIECE_MAX];
static uint64_t wrong, finished, resets, bytes_total, refused;

static uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

static uint64_t random_of(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* The byte at a position of a stream. Each word encodes its position, mixed with the number of the stream. */
static inline unsigned char byte_at(uint64_t stream, uint64_t place)
{
	uint64_t word = (stream ^ (place >> 3)) * 0x9e3779b97f4a7c15ull;
	return (unsigned char)(word >> ((place & 7) * 8));
}

static uint64_t stream_of(const struct end *end, int of_server)
{
	return end->plan.seed * 2 + (uint64_t)of_server;
}

static size_t some_size(struct end *end)
{
	uint64_t kind = random_of(&end->state) % 10, value = random_of(&end->state);
	if (kind < 3)
		return 1 + value % 16;
	if (kind < 8)
		return 1 + value % 4096;
	return 1 + value % PIECE_MAX;
}

static void die(const char *what)
{
	perror(what);
	exit(2);
}

static void drop(struct end *end)
{
	close(end->fd);
	end->used = 0;
}

static struct end *take(int fd, int server)
{
	for (size_t i = 0; i < ENDS_MAX; i++) {
		if (ends[i].used)
			continue;
		ends[i] = (struct end){.fd = fd, .server = server, .used = 1};
		return &ends[i];
	}
	close(fd);
	return 0;
}

static void begin(struct end *end)
{
	end->state = end->plan.seed + (uint64_t)end->server;
	end->to_write = end->server ? end->plan.down : end->plan.up;
	end->to_read = end->server ? end->plan.up : end->plan.down;
	end->slow_reader = end->server ? end->plan.slow_server : !(end->plan.seed % 7);
}

/* 1 while there is more to do on this socket now, 0 to wait for it, -1 when it is closed. */
static int write_some(struct end *end, uint64_t now)
{
	if (end->wrote_all || now < end->write_not_before)
		return 0;
	if (end->written == end->to_write) {
		end->wrote_all = 1;
		if (end->server || end->plan.ending != STAYS_SILENT)
			shutdown(end->fd, SHUT_WR);
		return 1;
	}
	size_t size = some_size(end);
	if (size > end->to_write - end->written)
		size = (size_t)(end->to_write - end->written);
	uint64_t stream = stream_of(end, end->server);
	for (size_t i = 0; i < size; i++)
		piece[i] = (char)byte_at(stream, end->written + i);
	ssize_t sent = send(end->fd, piece, size, MSG_NOSIGNAL);
	if (sent < 0)
		return errno == EAGAIN ? 0 : -1;
	end->written += (uint64_t)sent;
	if (random_of(&end->state) % 16 == 0)
		end->write_not_before = now + random_of(&end->state) % 3000000;
	return 1;
}

static int read_some(struct end *end, uint64_t now)
{
	if (end->read_all || now < end->read_not_before)
		return 0;
	size_t size = end->slow_reader ? 1 + random_of(&end->state) % 2000 : sizeof(piece);
	ssize_t got = recv(end->fd, piece, size, 0);
	if (got < 0)
		return errno == EAGAIN ? 0 : -1;
	if (got == 0) {
		end->read_all = 1;
		return 1;
	}
	uint64_t stream = stream_of(end, !end->server);
	for (ssize_t i = 0; i < got; i++) {
		if ((unsigned char)piece[i] == byte_at(stream, end->got + (uint64_t)i))
			continue;
		if (!wrong++)
			fprintf(stderr, "seed %llu, %s: byte %llu of %llu is wrong\n", (unsigned long long)end->plan.seed,
				end->server ? "to the server" : "to the client", (unsigned long long)(end->got + (uint64_t)i),
				(unsigned long long)end->to_read);
		break;
	}
	end->got += (uint64_t)got;
	bytes_total += (uint64_t)got;
	if (end->slow_reader && random_of(&end->state) % 4 == 0)
		end->read_not_before = now + random_of(&end->state) % 2000000;
	return 1;
}

static void ended(struct end *end, int gone)
{
	/* A reset discards bytes in flight; an orderly end does not. */
	if (gone || end->plan.ending == RESET)
		resets++;
	else if (end->got != end->to_read && !wrong++)
		fprintf(stderr, "seed %llu, %s: %llu of %llu bytes came\n", (unsigned long long)end->plan.seed,
			end->server ? "to the server" : "to the client", (unsigned long long)end->got,
			(unsigned long long)end->to_read);
	finished++;
	drop(end);
}

static void step(struct end *end, uint64_t now)
{
	if (end->planned < sizeof(end->plan)) {
		char *at = (char *)&end->plan + end->planned;
		size_t left = sizeof(end->plan) - end->planned;
		ssize_t n = end->server ? recv(end->fd, at, left, 0) : send(end->fd, at, left, MSG_NOSIGNAL);
		if (n <= 0) {
			if (n == 0 || errno != EAGAIN)
				drop(end);
			return;
		}
		end->planned += (size_t)n;
		if (end->planned < sizeof(end->plan))
			return;
		begin(end);
	}
	for (int turn = 0; turn < 8; turn++) {
		int w = write_some(end, now), r = read_some(end, now);
		if (w < 0 || r < 0)
			return ended(end, 1);
		if (!end->server && end->plan.ending == RESET && end->got >= end->to_read / 2) {
			struct linger hard = {1, 0};
			setsockopt(end->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
			return ended(end, 0);
		}
		/* The silent end closes its side once it has received all bytes of the other. */
		if (end->wrote_all && !end->server && end->plan.ending == STAYS_SILENT && end->got == end->to_read) {
			shutdown(end->fd, SHUT_WR);
			end->plan.ending = IN_ORDER;
		}
		if (end->wrote_all && end->read_all)
			return ended(end, 0);
		if (!w && !r)
			return;
	}
}

static void step_all(void)
{
	uint64_t now = now_ns();
	for (size_t i = 0; i < ENDS_MAX; i++)
		if (ends[i].used)
			step(&ends[i], now);
}

__attribute__((noreturn)) static void serve(int port)
{
	struct sockaddr_in6 at = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
	int listener = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0), on = 1, off = 0;
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(listener, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	if (bind(listener, (struct sockaddr *)&at, sizeof(at)) || listen(listener, 4096))
		die("listen");
	uint64_t reported = 0;
	for (;;) {
		int fd;
		while ((fd = accept4(listener, 0, 0, SOCK_NONBLOCK)) >= 0)
			take(fd, 1);
		step_all();
		if (wrong != reported) {
			reported = wrong;
			printf("wrong %llu\n", (unsigned long long)wrong);
			fflush(stdout);
		}
		usleep(200);
	}
}

static int open_one(const char *ip, int port, uint64_t *state)
{
	int v6 = strchr(ip, ':') != 0;
	struct sockaddr_in to4 = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	struct sockaddr_in6 to6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
	inet_pton(v6 ? AF_INET6 : AF_INET, ip, v6 ? (void *)&to6.sin6_addr : (void *)&to4.sin_addr);
	int fd = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM, 0);
	if (fd < 0)
		die("socket");
	uint64_t seed = random_of(state), shape = random_of(state);
	if (shape % 11 == 0) {
		int small = 4096;
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	}
	if (connect(fd, v6 ? (struct sockaddr *)&to6 : (struct sockaddr *)&to4, v6 ? sizeof(to6) : sizeof(to4))) {
		refused++;
		close(fd);
		return 0;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	struct end *end = take(fd, 0);
	if (!end)
		return 0;
	uint64_t most = shape % 5 == 0 ? 8u << 20 : shape % 3 == 0 ? 1u << 20 : 20000;
	end->plan = (struct plan){.seed = seed,
				  .up = random_of(state) % most,
				  .down = random_of(state) % most,
				  .ending = shape % 13 == 0 ? RESET : shape % 3 == 0 ? STAYS_SILENT : IN_ORDER,
				  .slow_server = shape % 9 == 0};
	return 1;
}

static size_t in_use(void)
{
	size_t count = 0;
	for (size_t i = 0; i < ENDS_MAX; i++)
		count += (size_t)ends[i].used;
	return count;
}

int main(int argc, char **argv)
{
	struct rlimit files = {ENDS_MAX + 64, ENDS_MAX + 64};
	setrlimit(RLIMIT_NOFILE, &files);
	signal(SIGPIPE, SIG_IGN);
	if (argc == 3 && !strcmp(argv[1], "serve"))
		serve(atoi(argv[2]));
	if (argc != 7 || strcmp(argv[1], "drive")) {
		fprintf(stderr, "usage: soak serve PORT | soak drive IP PORT CONNECTIONS SECONDS SEED\n");
		return 2;
	}
	size_t connections = (size_t)atoi(argv[4]);
	uint64_t state = strtoull(argv[6], 0, 10), opened = 0;
	uint64_t end = now_ns() + strtoull(argv[5], 0, 10) * 1000000000ull, patience = end + 60000000000ull;
	while (now_ns() < end || (in_use() > 0 && now_ns() < patience)) {
		if (now_ns() < end && in_use() < connections && open_one(argv[2], atoi(argv[3]), &state))
			opened++;
		step_all();
		if (in_use() >= connections)
			usleep(200);
	}
	printf("{\"opened\":%llu,\"finished\":%llu,\"resets\":%llu,\"refused\":%llu,\"bytes\":%llu,\"wrong\":%llu,\"stuck\":%zu}\n",
	       (unsigned long long)opened, (unsigned long long)finished, (unsigned long long)resets,
	       (unsigned long long)refused, (unsigned long long)bytes_total, (unsigned long long)wrong, in_use());
	return wrong || in_use() ? 1 : 0;
}
