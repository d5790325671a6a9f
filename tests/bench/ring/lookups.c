/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/bench/ring/lookups.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { READERS_MAX = 2, LOOKUPS = 4000000 };

struct bench {
	struct ring_table *table;
	const struct ring_document *document;
	struct ring_member_status *status;
	uint32_t pause_us; /* of the writer */
	atomic_bool done;
	uint64_t publications;
	double publish_ns;
};

struct reader {
	struct bench *bench;
	pthread_t thread;
	double ns; /* per lookup */
	uint64_t sum;
};

static double thread_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void write_key(char *key, uint64_t number)
{
	memcpy(key, "user:000", 8);
	memcpy(key + 8, &number, sizeof number);
}

static uint64_t look_up(const struct ring_document *document, uint64_t number)
{
	const uint16_t *row;
	char key[16];
	uint32_t partition;

	write_key(key, number);
	partition = ring_partition_of(document, "default", 7, key, sizeof key);
	return ring_owners(document, partition, 0, &row) + row[0];
}

static void *read_all(void *argument)
{
	struct reader *reader = argument;
	struct ring_table *table = reader->bench->table;
	double start;

	ring_reader_register();
	start = thread_s();
	for (uint64_t i = 0; i < LOOKUPS; i++) {
		const struct ring_view *view = ring_view_acquire(table);

		reader->sum += look_up(view->document, i);
		ring_view_release(table, view);
	}
	reader->ns = (thread_s() - start) / LOOKUPS * 1e9;
	ring_reader_unregister();
	return NULL;
}

static void *publish_all(void *argument)
{
	struct bench *bench = argument;
	struct timespec pause = {.tv_sec = bench->pause_us / 1000000, .tv_nsec = bench->pause_us % 1000000 * 1000};
	double start;

	ring_reader_register();
	start = thread_s();
	while (!atomic_load(&bench->done)) {
		if (ring_table_publish(bench->table, bench->document, bench->status))
			abort();
		bench->publications++;
		nanosleep(&pause, NULL);
	}
	bench->publish_ns = (thread_s() - start) / (double)bench->publications * 1e9;
	ring_reader_unregister();
	return NULL;
}

/* ns per lookup of one reader, the mean over them. */
static double run(struct bench *bench, uint32_t reader_count)
{
	struct reader readers[READERS_MAX] = {0};
	pthread_t writer;
	double sum = 0;

	atomic_store(&bench->done, false);
	bench->publications = 0;
	if (pthread_create(&writer, NULL, publish_all, bench))
		abort();
	for (uint32_t i = 0; i < reader_count; i++) {
		readers[i].bench = bench;
		if (pthread_create(&readers[i].thread, NULL, read_all, &readers[i]))
			abort();
	}
	for (uint32_t i = 0; i < reader_count; i++) {
		pthread_join(readers[i].thread, NULL);
		sum += readers[i].ns;
	}
	atomic_store(&bench->done, true);
	pthread_join(writer, NULL);
	return sum / reader_count;
}

static volatile uint64_t seen; /* so that the compiler keeps what is measured */

static double list_alone(const struct ring_document *document)
{
	double start = thread_s();
	uint64_t sum = 0;

	for (uint64_t i = 0; i < LOOKUPS; i++)
		sum += look_up(document, i);
	seen = sum;
	return (thread_s() - start) / LOOKUPS * 1e9;
}

static double two_fallbacks(const struct ring_document *document)
{
	double start = thread_s();
	uint64_t sum = 0;

	for (uint32_t i = 0; i < LOOKUPS / 4; i++) {
		uint16_t row[2];
		sum += ring_fallbacks(document, i * 2654435761u >> 16 & (ring_partition_count(document) - 1), 0, row,
				      2);
	}
	seen = sum;
	return (thread_s() - start) / (LOOKUPS / 4) * 1e9;
}

void lookups_show(const struct ring_document *document)
{
	static const uint32_t pauses_us[] = {200000, 1000}; /* a round of gossip; many times that */
	struct bench bench = {.document = document};

	bench.status = calloc(ring_member_count(document), sizeof *bench.status);
	ring_reader_register();
	if (bench.status == NULL || ring_table_create(1, &bench.table) ||
	    ring_table_publish(bench.table, document, bench.status))
		abort();
	ring_reader_unregister();
	for (size_t i = 0; i < sizeof pauses_us / sizeof pauses_us[0]; i++) {
		double one, two;

		bench.pause_us = pauses_us[i];
		one = run(&bench, 1);
		two = run(&bench, 2);
		printf("| %" PRIu32 " | %" PRIu32 " | every %u ms | %.1f | %.1f | %.1f | %.1f | %.1f us |\n",
		       ring_member_count(document), ring_partition_count(document), pauses_us[i] / 1000, one, two,
		       list_alone(document), two_fallbacks(document), bench.publish_ns / 1e3);
	}
	ring_table_destroy(&bench.table);
	free(bench.status);
}
