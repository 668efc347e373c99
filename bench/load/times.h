/* SPDX-License-Identifier: Apache-2.0 */
/* Times of requests: gaps between independent clients' requests, and exact percentiles (nearest rank) of what was measured. */
#ifndef WEFT_BENCH_TIMES_H
#define WEFT_BENCH_TIMES_H

#include "common.h"

#define TIMES_MAX 8388608ul

static uint32_t *times;
static size_t times_count;

/* Nanoseconds; the first TIMES_MAX of them. */
static inline void keep_time(uint64_t ns)
{
	if (!times && !(times = malloc(TIMES_MAX * sizeof(*times))))
		die("memory");
	if (times_count < TIMES_MAX)
		times[times_count++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static double rank_us(double share)
{
	size_t rank = (size_t)(share * (double)times_count + 0.999999);
	return (double)times[rank < 1 ? 0 : rank > times_count ? times_count - 1 : rank - 1] / 1000;
}

/* Fields of a JSON object, without its braces. At least one time has to be kept. */
static inline void print_times(void)
{
	double sum = 0;
	for (size_t i = 0; i < times_count; i++)
		sum += times[i];
	qsort(times, times_count, sizeof(*times), by_size);
	printf("\"mean_us\":%.3f,\"p50_us\":%.3f,\"p90_us\":%.3f,\"p99_us\":%.3f,\"p999_us\":%.3f,\"max_us\":%.3f",
	       sum / (double)times_count / 1000, rank_us(0.5), rank_us(0.9), rank_us(0.99), rank_us(0.999),
	       (double)times[times_count - 1] / 1000);
}

/* xorshift64*: the same gaps in every run. */
static double uniform(void)
{
	static uint64_t state = 88172645463325252ull;
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return ((double)((state * 2685821657736338717ull) >> 11) + 0.5) / 9007199254740992.0;
}

/* ln of a value in (0, 1), without libm. */
static double natural_log(double value)
{
	int halvings = 0;
	for (; value < 0.70710678; halvings++)
		value *= 2;
	double y = (value - 1) / (value + 1), square = y * y, term = y, sum = 0;
	for (int k = 1; k < 30; k += 2, term *= square)
		sum += term / k;
	return 2 * sum - halvings * 0.69314718055994531;
}

/* The gap to the next request, where 1 is their mean. */
static inline double exponential(void)
{
	return -natural_log(uniform());
}

#endif
