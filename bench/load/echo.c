// SPDX-License-Identifier: Apache-2.0
// Load for the L4 suite: "serve PORT"; "ping IP PORT ROUNDS" (128 bytes each way, microseconds); "churn IP PORT SECONDS".
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { message_bytes = 128, warmup_rounds = 500 };

static double now(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec / 1e9;
}

static void *serve_one(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char buffer[65536];
	ssize_t n;
	while ((n = read(fd, buffer, sizeof(buffer))) > 0)
		if (write(fd, buffer, n) != n)
			break;
	close(fd);
	return NULL;
}

static int serve(int port)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) || listen(fd, 4096)) {
		perror("listen");
		return 1;
	}
	for (;;) {
		int c = accept(fd, NULL, NULL);
		if (c < 0)
			continue;
		setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		pthread_t thread;
		if (pthread_create(&thread, NULL, serve_one, (void *)(intptr_t)c))
			close(c);
		else
			pthread_detach(thread);
	}
}

static int dial(const char *ip, int port)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(port) };
	inet_pton(AF_INET, ip, &a.sin_addr);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (connect(fd, (struct sockaddr *)&a, sizeof(a))) {
		close(fd);
		return -1;
	}
	return fd;
}

static int exchange(int fd, char *buffer, int bytes)
{
	if (write(fd, buffer, bytes) != bytes)
		return -1;
	for (int got = 0; got < bytes;) {
		ssize_t n = read(fd, buffer + got, bytes - got);
		if (n <= 0)
			return -1;
		got += n;
	}
	return 0;
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;
	return (x > y) - (x < y);
}

static int ping(const char *ip, int port, int rounds)
{
	char buffer[message_bytes] = { 0 };
	double *us = calloc(rounds, sizeof(*us));
	int fd = dial(ip, port);
	if (fd < 0 || !us) {
		perror("connect");
		return 1;
	}
	for (int i = -warmup_rounds; i < rounds; i++) {
		double began = now();
		if (exchange(fd, buffer, message_bytes)) {
			perror("exchange");
			return 1;
		}
		if (i >= 0)
			us[i] = (now() - began) * 1e6;
	}
	qsort(us, rounds, sizeof(*us), compare);
	printf("{\"p50\":%.2f,\"p99\":%.2f,\"p999\":%.2f}\n", us[rounds / 2], us[rounds * 99LL / 100], us[rounds * 999LL / 1000]);
	return 0;
}

static int churn(const char *ip, int port, double seconds)
{
	char byte = 'x';
	long done = 0, failed = 0;
	double began = now();
	while (now() - began < seconds) {
		int fd = dial(ip, port);
		if (fd < 0 || exchange(fd, &byte, 1))
			failed++;
		else
			done++;
		/* Closed by reset: thousands of ports in TIME_WAIT would make later runs measure the search for a free one. */
		if (fd >= 0) {
			struct linger reset = { 1, 0 };
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
			close(fd);
		}
	}
	printf("{\"connections\":%.1f,\"failed\":%ld}\n", done / (now() - began), failed);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && !strcmp(argv[1], "serve"))
		return serve(atoi(argv[2]));
	if (argc == 5 && !strcmp(argv[1], "ping"))
		return ping(argv[2], atoi(argv[3]), atoi(argv[4]));
	if (argc == 5 && !strcmp(argv[1], "churn"))
		return churn(argv[2], atoi(argv[3]), atof(argv[4]));
	fprintf(stderr, "usage: echo serve PORT | ping IP PORT ROUNDS | churn IP PORT SECONDS\n");
	return 2;
}
