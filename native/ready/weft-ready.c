// SPDX-License-Identifier: Apache-2.0
/*
 * weft-ready FILE SECONDS: exits with 0 if FILE was written within the last SECONDS. This is the agent's readiness probe. Two agents
 * on one node share its network, so an HTTP probe could reach either; the file is in a volume of one pod only.
 */
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

int main(int argc, char **argv)
{
	struct stat about;
	struct timespec now;
	if (argc != 3 || stat(argv[1], &about) || clock_gettime(CLOCK_REALTIME, &now))
		return 1;
	/* labs(): after a clock is set back, the file's time is ahead until the agent writes the file again, each second. */
	return labs(now.tv_sec - about.st_mtim.tv_sec) > atol(argv[2]);
}
