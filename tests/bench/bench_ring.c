/* SPDX-License-Identifier: Apache-2.0 */
/* Figures of ring/README.md: balance, movement, the time of a claim and of lookups. Prints a table; fails only when it
 * cannot run. */
#include "tests/ring/cluster.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* Standard deviation of replicas per weight over the nodes, in percent of the mean. */
static double deviation(const struct ring_document *document, bool primaries)
{
	double sum = 0, squares = 0;
	uint32_t count = ring_member_count(document);

	for (uint32_t i = 0; i < count; i++) {
		double load = primaries ? ring_member_primaries(document, i) : ring_member_replicas(document, i);
		load /= ring_member(document, i)->weight;
		sum += load;
		squares += load * load;
	}
	return 100 * sqrt(fmax(0, squares / count - (sum / count) * (sum / count))) / (sum / count);
}

static void line(const char *what, const struct ring_document *previous, const struct ring_document *document,
		 double seconds)
{
	printf("%-34s %8.3f %% %8.3f %%", what, deviation(document, false), deviation(document, true));
	if (previous != NULL)
		printf(" %8" PRIu32 " of %8" PRIu32, moved_claims(previous, document),
		       gained_claims(previous, document));
	else
		printf(" %20s", "-");
	printf(" %9.1f ms\n", 1000 * seconds);
}

static void change(const char *what, struct cluster *cluster, struct ring_document **document)
{
	double start = now_s();
	struct ring_document *next = cluster_claim(cluster, *document);

	line(what, *document, next, now_s() - start);
	ring_document_destroy(document);
	*document = next;
}

static void story(uint32_t partitions, uint32_t nodes, uint32_t racks, bool weighted)
{
	static struct cluster cluster;
	struct ring_document *document = NULL;
	char what[64], rack[16];

	cluster_init(&cluster, partitions, 3);
	for (uint32_t i = 0; i <= nodes; i++) {
		snprintf(rack, sizeof rack, "r%u", i % racks);
		cluster_add(&cluster, i, racks > 1 ? rack : "", weighted ? 50 + 50 * (i % 4) : 100);
	}
	cluster.plan.member_count--;
	snprintf(what, sizeof what, "Q=%u %u nodes %u racks%s", partitions, nodes, racks, weighted ? " weighted" : "");
	change(what, &cluster, &document);
	cluster.plan.member_count++;
	change("  one joins", &cluster, &document);
	cluster_remove(&cluster, nodes / 2);
	change("  another leaves", &cluster, &document);
	cluster.members[0].weight *= 2;
	change("  the weight of one doubles", &cluster, &document);
	ring_document_destroy(&document);
}

static void lookups(void)
{
	enum { ROUNDS = 20000000 };
	static struct cluster cluster;
	struct ring_document *document;
	struct random random = {1};
	uint64_t sum = 0;
	char key[16] = "user:00000000000";
	double start;

	cluster_init(&cluster, 1024, 3);
	for (uint32_t i = 0; i < 10; i++)
		cluster_add(&cluster, i, "", 100);
	document = cluster_claim(&cluster, NULL);
	start = now_s();
	for (uint32_t i = 0; i < ROUNDS; i++) {
		const uint16_t *row;
		uint32_t partition;

		key[5] = (char)(i & 0xff);
		key[6] = (char)(i >> 8);
		partition = ring_partition_of(document, "default", 7, key, sizeof key);
		sum += ring_owners(document, partition, 0, &row) + row[0];
	}
	printf("partition_of + owners, 16-byte key: %.1f ns (%" PRIu64 ")\n", (now_s() - start) / ROUNDS * 1e9,
	       sum & 1);
	start = now_s();
	for (uint32_t i = 0; i < ROUNDS / 10; i++) {
		uint16_t row[2];
		sum += ring_fallbacks(document, random_below(&random, 1024), 0, row, 2);
	}
	printf("fallbacks, 2: %.1f ns (%" PRIu64 ")\n", (now_s() - start) / (ROUNDS / 10) * 1e9, sum & 1);
	ring_document_destroy(&document);
}

static void publication(void)
{
	enum { ROUNDS = 20000000 };
	struct ring_table *table;
	uint64_t sum = 0;
	double start;

	if (ring_table_create(1, &table))
		abort();
	ring_reader_register();
	start = now_s();
	for (uint32_t i = 0; i < ROUNDS; i++) {
		const struct ring_view *view = ring_view_acquire(table);
		sum += view->self_id;
		ring_view_release(table, view);
	}
	printf("view acquire + release: %.1f ns (%" PRIu64 ")\n", (now_s() - start) / ROUNDS * 1e9, sum & 1);
	start = now_s();
	for (uint32_t i = 0; i < 10000; i++)
		if (ring_table_publish(table, NULL, NULL))
			abort();
	printf("publish: %.0f ns\n", (now_s() - start) / 10000 * 1e9);
	ring_reader_unregister();
	ring_table_destroy(&table);
}

int main(void)
{
	printf("%-34s %10s %10s %20s %12s\n", "N=3", "replicas", "primaries", "moved of needed", "time");
	story(1024, 3, 1, false);
	story(1024, 5, 1, false);
	story(1024, 10, 1, false);
	story(1024, 100, 1, false);
	story(1024, 10, 1, true);
	story(1024, 12, 4, false);
	story(1024, 12, 4, true);
	story(1024, 9, 3, false);
	story(4096, 100, 5, true);
	story(65536, 1000, 10, false);
	lookups();
	publication();
	return 0;
}
