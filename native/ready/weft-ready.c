// SPDX-License-Identifier: Apache-2.0
/*
 * weft-ready FILE SECONDS: exit code 0 where FILE was written within the last SECONDS. The agent's readiness probe: two agents of one
 * node share its network, so a probe by HTTP would ask either; this file is in the volume of one pod alone.
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
	/* Also where a clock was set back: the agent writes it each second by the clock of now. */
	return labs(now.tv_sec - about.st_mtim.tv_sec) > atol(argv[2]);
}
