/* SPDX-License-Identifier: Apache-2.0 */
/* uring IP PORT: connects with io_uring, sends "ping" and prints the response. It uses raw system calls and needs no library. */
#include <arpa/inet.h>
#include <linux/io_uring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(1);
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((unsigned short)atoi(argv[2]))};
	inet_pton(AF_INET, argv[1], &to.sin_addr);
	struct io_uring_params params = {0};
	int ring = (int)syscall(SYS_io_uring_setup, 4, &params);
	if (ring < 0)
		die("io_uring_setup");
	char *submissions = mmap(0, params.sq_off.array + params.sq_entries * sizeof(unsigned), PROT_READ | PROT_WRITE,
				 MAP_SHARED, ring, IORING_OFF_SQ_RING);
	char *completions = mmap(0, params.cq_off.cqes + params.cq_entries * sizeof(struct io_uring_cqe),
				 PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_CQ_RING);
	struct io_uring_sqe *entries = mmap(0, params.sq_entries * sizeof(*entries), PROT_READ | PROT_WRITE, MAP_SHARED,
					    ring, IORING_OFF_SQES);
	if (submissions == MAP_FAILED || completions == MAP_FAILED || entries == MAP_FAILED)
		die("mmap");
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	entries[0] = (struct io_uring_sqe){
		.opcode = IORING_OP_CONNECT, .fd = fd, .addr = (unsigned long)&to, .off = sizeof(to)};
	((unsigned *)(submissions + params.sq_off.array))[0] = 0;
	__atomic_store_n((unsigned *)(submissions + params.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, 0, 0) < 0)
		die("io_uring_enter");
	struct io_uring_cqe *done = (struct io_uring_cqe *)(completions + params.cq_off.cqes);
	if (done->res < 0) {
		fprintf(stderr, "connect: %s\n", strerror(-done->res));
		return 1;
	}
	char answer[16] = {0};
	if (write(fd, "ping", 4) != 4 || read(fd, answer, sizeof(answer) - 1) <= 0)
		die("exchange");
	puts(answer);
	return 0;
}
