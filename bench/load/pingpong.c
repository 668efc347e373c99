/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pingpong IP PORT CPU MESSAGE_BYTES MILLISECONDS [blocking] [http]: one message to and fro on one connection, again and again; prints
 * {"trips":N,"all_trips":N,"p50_us":..,"p99_us":..,"p999_us":..} (exact percentiles, nearest rank). The first 300 ms are not in
 * `trips` and the percentiles, so that what is set up once does not show. The socket does not block, as an event loop's,
 * unless told to. http: each message is an HTTP/1.1 request without a body, and has to come back as a 200 of the same size (echo with http).
 */
#include "common.h"
#include <fcntl.h>

#define WARM_NS 300000000ull
#define TRIPS_MAX 4194304ul /* 16 MiB of measurements; a run that fills them ends early */

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static double rank_us(const uint32_t *sorted, size_t count, double share)
{
	size_t rank = (size_t)(share * (double)count + 0.999999);
	return (double)sorted[rank < 1 ? 0 : rank > count ? count - 1 : rank - 1] / 1000;
}

int main(int argc, char **argv)
{
	int blocking = 0, http = 0;
	for (int i = 6; i < argc; i++) {
		blocking |= !strcmp(argv[i], "blocking");
		http |= !strcmp(argv[i], "http");
	}
	if (argc != 6 + blocking + http) {
		fprintf(stderr, "usage: pingpong IP PORT CPU MESSAGE_BYTES MILLISECONDS [blocking] [http]\n");
		return 2;
	}
	struct sockaddr_storage to;
	socklen_t length = numeric(argv[1], argv[2], &to);
	pin(number(argv[3], -1, 1023, "CPU"));
	size_t size = (size_t)number(argv[4], 1, MESSAGE_BYTES_MAX, "MESSAGE_BYTES");
	uint64_t for_ns = (uint64_t)number(argv[5], 1, 600000, "MILLISECONDS") * 1000000ull;
	static char out[MESSAGE_BYTES_MAX], in[MESSAGE_BYTES_MAX];
	uint32_t *took = malloc(TRIPS_MAX * sizeof(*took));
	if (!took)
		die("memory");
	/* No page fault while the clock runs. */
	memset(took, 1, TRIPS_MAX * sizeof(*took));
	if (http) {
		static const char head[] = "GET /orders/4711/items HTTP/1.1\r\nhost: api\r\nx: ";
		if (size < sizeof(head) + 4)
			die("a request of %zu bytes", size);
		memset(out, 'x', size);
		memcpy(out, head, sizeof(head) - 1);
		memcpy(out + size - 4, "\r\n\r\n", 4);
	}
	int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct timeval patience = {.tv_sec = 10};
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	if (fd < 0 || connect(fd, (struct sockaddr *)&to, length))
		die("connect to %s port %s", argv[1], argv[2]);
	no_delay(fd);
	if (!blocking)
		fcntl(fd, F_SETFL, O_NONBLOCK);
	size_t trips = 0;
	uint64_t began = now_ns(), count_from = began + WARM_NS, end = count_from + for_ns, sequence = 0;
	for (uint64_t sent = began; sent < end && trips < TRIPS_MAX; sequence++) {
		if (!http)
			memcpy(out, &sequence, size < sizeof(sequence) ? size : sizeof(sequence));
		if (send(fd, out, size, MSG_NOSIGNAL) != (ssize_t)size)
			die("send");
		for (size_t have = 0; have < size;) {
			struct pollfd readable = {.fd = fd, .events = POLLIN};
			if (!blocking && poll(&readable, 1, 10000) == 0)
				errno = ETIMEDOUT;
			ssize_t got = recv(fd, in + have, size - have, 0);
			if (!blocking && got < 0 && errno == EAGAIN)
				continue;
			if (got == 0)
				errno = ECONNRESET;
			if (got <= 0)
				die("receive after %zu round trips", trips);
			have += (size_t)got;
		}
		uint64_t back = now_ns();
		if (http ? memcmp(in, "HTTP/1.1 200 ", 13) : memcmp(in, out, size)) {
			fprintf(stderr, "round trip %zu: another message came back\n", trips);
			return 1;
		}
		if (sent >= count_from)
			took[trips++] = back - sent > UINT32_MAX ? UINT32_MAX : (uint32_t)(back - sent);
		sent = back;
	}
	if (trips == 0) {
		fprintf(stderr, "no round trip ended in time\n");
		return 1;
	}
	qsort(took, trips, sizeof(*took), by_size);
	printf("{\"trips\":%zu,\"all_trips\":%llu,\"p50_us\":%.3f,\"p99_us\":%.3f,\"p999_us\":%.3f}\n", trips,
	       (unsigned long long)sequence, rank_us(took, trips, 0.5), rank_us(took, trips, 0.99), rank_us(took, trips, 0.999));
	return 0;
}
