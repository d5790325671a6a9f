/* SPDX-License-Identifier: Apache-2.0 */
/* The tables of ring/README.md: balance, movement, time and memory of a claim from 3 to 10,000 nodes; lookups beside a writer.
 * Times are of the CPU. Fails only when it cannot run. */
#include "tests/bench/ring/lookups.h"
#include "tests/ring/cluster.h"
#include "tests/ring/oracle.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static struct cluster cluster;
static struct oracle_bounds bounds[RING_MEMBERS_MAX];

static double cpu_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* What a row of the table is about. */
struct shape {
	uint32_t partitions, nodes, racks; /* racks 0: none are named */
	bool weighted;                     /* 50, 100, 150 and 200 in turn, every rack alike */
};

static void add(uint32_t number, const struct shape *shape)
{
	uint32_t in_turn = number / (shape->racks ? shape->racks : 1) % 4;

	char rack[16] = "";

	if (shape->racks)
		snprintf(rack, sizeof rack, "r%u", number % shape->racks);
	cluster_add(&cluster, number, rack, shape->weighted ? 50 + 50 * in_turn : RING_WEIGHT_DEFAULT);
}

static void build(const struct shape *shape)
{
	cluster_init(&cluster, shape->partitions, 3);
	for (uint32_t i = 0; i < shape->nodes; i++)
		add(i, shape);
}

/* The most that a node holds per weight, to the mean. */
static double spread(const struct ring_document *document, bool first_places)
{
	double most = 0, sum = 0, weights = 0;

	for (uint32_t i = 0; i < ring_member_count(document); i++) {
		double held = first_places ? ring_member_primaries(document, i) : ring_member_replicas(document, i);
		double weight = ring_member(document, i)->weight;

		sum += held;
		weights += weight;
		most = held / weight > most ? held / weight : most;
	}
	return most * weights / sum;
}

/* What a first claim adds to a process, in one of its own. */
static void claim_memory(void)
{
	struct rusage before, after;
	struct ring_document *document;
	pid_t child;
	int status;

	fflush(stdout);
	malloc_trim(0); /* or the claim would take what was freed here */
	child = fork();
	if (child == 0) {
		getrusage(RUSAGE_SELF, &before);
		document = cluster_claim(&cluster, NULL);
		getrusage(RUSAGE_SELF, &after);
		printf(" %.1f MB |\n", (double)(after.ru_maxrss - before.ru_maxrss) * 1024 / 1e6);
		fflush(stdout);
		_exit(document == NULL);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0 || status != 0)
		abort();
}

enum change { JOIN, LEAVE, REPLACE, WEIGHT };

static void make_change(enum change change, const struct shape *shape)
{
	uint32_t which = shape->nodes / 2;
	struct ring_member old = cluster.members[which];

	switch (change) {
	case JOIN:
		add(shape->nodes, shape);
		return;
	case LEAVE:
		cluster_remove(&cluster, which);
		return;
	case REPLACE:
		cluster_remove(&cluster, which);
		cluster_add(&cluster, shape->nodes, old.rack, old.weight);
		return;
	case WEIGHT:
		cluster.members[which].weight *= 2;
		return;
	}
}

/* Prints " moved / minimum |": without racks what the shares ask for, with racks what the nodes gained. Seconds of CPU. */
static double show_change(enum change change, const struct ring_document *previous, const struct shape *shape)
{
	struct ring_document *next;
	uint32_t fewest;
	double start, seconds;

	build(shape);
	make_change(change, shape);
	start = cpu_s();
	next = cluster_claim(&cluster, previous);
	seconds = cpu_s() - start;
	oracle_bounds(next, 0, bounds);
	fewest = shape->racks ? gained_claims(previous, next) : oracle_fewest_moves(previous, next, 0, bounds);
	printf(" %" PRIu32 " / %" PRIu32 " |", moved_claims(previous, next), fewest);
	ring_document_destroy(&next);
	return seconds;
}

static void claims(const struct shape *shape)
{
	struct ring_document *document;
	double start, first_s, join_s;

	build(shape);
	start = cpu_s();
	document = cluster_claim(&cluster, NULL);
	first_s = cpu_s() - start;
	printf("| %" PRIu32 " | %" PRIu32 " | %s | %" PRIu32 " | %.3f | %.3f |", shape->nodes,
	       shape->racks ? shape->racks : 1, shape->weighted ? "50 to 200" : "equal", shape->partitions,
	       spread(document, false), spread(document, true));
	join_s = show_change(JOIN, document, shape);
	show_change(LEAVE, document, shape);
	show_change(REPLACE, document, shape);
	show_change(WEIGHT, document, shape);
	printf(" %.1f ms | %.1f ms |", 1e3 * first_s, 1e3 * join_s);
	ring_document_destroy(&document);
	build(shape);
	claim_memory();
}

static void lookups(uint32_t partitions, uint32_t nodes)
{
	const struct shape shape = {.partitions = partitions, .nodes = nodes};
	struct ring_document *document;

	build(&shape);
	document = cluster_claim(&cluster, NULL);
	lookups_show(document);
	ring_document_destroy(&document);
}

static const struct shape shapes[] = {
	{1024, 3, 0, false},      {1024, 10, 0, false},       {8192, 100, 0, false},   {65536, 1000, 0, false},
	{65536, 10000, 0, false}, {1024, 3, 3, false},        {1024, 10, 5, false},    {8192, 100, 10, false},
	{65536, 1000, 20, false}, {65536, 10000, 100, false}, {1024, 12, 0, true},     {8192, 100, 0, true},
	{65536, 1000, 0, true},   {8192, 100, 5, true},       {65536, 1000, 20, true}, {65536, 10000, 100, true},
};

int main(void)
{
	printf("N = 3; max/mean of claims per weight and of first places; claims moved / the minimum when one node "
	       "joins, "
	       "leaves, is replaced, doubles its weight\n\n"
	       "| nodes | racks | weights | Q | claims | first | join | leave | replace | weight | first claim | join "
	       "| memory |\n"
	       "|---|---|---|---|---|---|---|---|---|---|---|---|---|\n");
	for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++)
		claims(&shapes[i]);
	printf("\nns of CPU per lookup: view, hash of a 16-byte key, preference list, release; a writer publishes "
	       "meanwhile\n\n"
	       "| nodes | Q | writer | 1 reader | 2 readers, each | list alone | 2 fallbacks more | publish |\n"
	       "|---|---|---|---|---|---|---|---|\n");
	lookups(1024, 10);
	lookups(65536, 1000);
	lookups(65536, 10000);
	return 0;
}
