/* SPDX-License-Identifier: Apache-2.0 */
/* The workloads of `kvengine bench` on other engines: same keys, same values, reads checked byte by byte.
 *
 *     peer_bench PEER DIR WORKLOAD,... [--num N] [--reads N] [--writes N] [--value-bytes N] [--cache-mb N] [--buffer-mb N]
 *                [--seed N]
 *
 * DIR exists and belongs to the benchmark (compare.py makes it); nothing in it is removed, so fill workloads want a new
 * one. Prints one JSON object per workload, with the keys that kvengine bench --json prints. `peer_bench --peers` prints
 * which engines were compiled in.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/engine/peer.h"

enum { KEY_BYTES = 16, WRITERS_MAX = 16 };

static const struct peer *const peers[] = {
#ifdef HAVE_LEVELDB
	&peer_leveldb,
#endif
#ifdef HAVE_LMDB
	&peer_lmdb,
#endif
#ifdef HAVE_ROCKSDB
	&peer_rocksdb,
#endif
};

enum { PEER_COUNT = sizeof peers / sizeof peers[0] };

struct bench {
	const struct peer *peer;
	struct peer_settings settings;
	struct bench_data data;
	uint64_t reads, writes, seed, run_count;
	bool is_open;
};

/* A workload, and one run of it. */
struct workload {
	const char *name;
	enum { WRITE, GET, SEEK, SCAN } kind;
	enum { IN_ORDER, ANY, MISSING, HOT } choice;
	unsigned writers;
	bool sync;
};

struct worker {
	struct bench *bench;
	const struct workload *workload;
	struct random random;
	uint64_t operations, found;
	pthread_t thread;
};

static const struct workload workloads[] = {
	{"fillseq", WRITE, IN_ORDER, 1, false},  {"fillrandom", WRITE, ANY, 1, false},
	{"overwrite", WRITE, ANY, 1, false},     {"readrandom", GET, ANY, 1, false},
	{"readmissing", GET, MISSING, 1, false}, {"readhot", GET, HOT, 1, false},
	{"seekrandom", SEEK, ANY, 1, false},     {"scanrandom", SCAN, ANY, 1, false},
	{"fillsync", WRITE, ANY, 1, true},       {"fillsync16", WRITE, ANY, 16, true},
};

void peer_die(const char *what, const char *why)
{
	fprintf(stderr, "peer_bench: %s: %s\n", what, why);
	exit(1);
}

void peer_check(const struct bench_data *data, struct peer_key key, const void *value, size_t size)
{
	if (!bench_data_is_right(data, key.number, value, size))
		peer_die("read", "another value than was written");
}

static void set_open(struct bench *bench, bool open, bool sync)
{
	if (bench->is_open && (!open || bench->settings.sync != sync)) {
		bench->peer->close();
		bench->is_open = false;
	}
	bench->settings.sync = sync;
	if (open && !bench->is_open)
		bench->peer->open(&bench->settings);
	bench->is_open = open;
}

static void do_one(struct worker *worker, uint64_t i)
{
	const struct bench *bench = worker->bench;
	const struct workload *workload = worker->workload;
	uint8_t bytes[BENCH_KEY_ROOM];
	struct peer_key key = {.data = (const char *)bytes};

	key.number = workload->choice == IN_ORDER ? i
		     : workload->choice == HOT    ? bench_data_zipf(&bench->data, &worker->random)
						  : bench_data_uniform(&bench->data, &worker->random);
	key.size = workload->choice == MISSING ? bench_data_missing_key(&bench->data, key.number, bytes)
					       : bench_data_key(&bench->data, key.number, bytes);
	if (workload->kind == WRITE)
		bench->peer->put(&bench->data, key);
	else if (workload->kind == GET)
		worker->found += (uint64_t)bench->peer->get(&bench->data, key);
	else
		worker->found +=
			(uint64_t)bench->peer->seek(&bench->data, key, workload->kind == SCAN ? BENCH_SCAN_STEPS : 0);
}

static void *run_worker(void *arg)
{
	struct worker *worker = arg;

	for (uint64_t i = 0; i < worker->operations; i++)
		do_one(worker, i);
	return NULL;
}

static struct worker make_worker(struct bench *bench, const struct workload *workload, unsigned index)
{
	uint64_t total = workload->kind == WRITE ? bench->writes : bench->reads;
	struct random random = {bench->seed + (bench->run_count << 32) + index};

	random.state = random_next(&random); /* no two runs share a part of the sequence */
	return (struct worker){bench, workload, random, total / workload->writers + (index < total % workload->writers),
			       0};
}

static void report(const struct workload *workload, uint64_t operations, uint64_t found, double seconds)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	printf("{\"workload\": \"%s\", \"ops_per_second\": %.0f, \"operations\": %" PRIu64 ", \"found\": %" PRIu64
	       ", \"rss_kb\": %ld}\n",
	       workload->name, (double)operations / seconds, operations, found, usage.ru_maxrss);
	fflush(stdout);
}

static void run(struct bench *bench, const struct workload *workload)
{
	const struct peer *peer = bench->peer;
	struct worker workers[WRITERS_MAX];
	uint64_t begin, operations = 0, found = 0;

	bench->run_count++;
	set_open(bench, true, workload->sync);
	begin = bench_now_ns();
	if (workload->kind != WRITE && peer->begin_reads != NULL)
		peer->begin_reads();
	for (unsigned i = 0; i < workload->writers; i++) {
		workers[i] = make_worker(bench, workload, i);
		if (workload->writers == 1)
			run_worker(&workers[i]);
		else if (pthread_create(&workers[i].thread, NULL, run_worker, &workers[i]))
			peer_die("thread", strerror(EAGAIN));
	}
	for (unsigned i = 0; i < workload->writers; i++) {
		if (workload->writers > 1)
			pthread_join(workers[i].thread, NULL);
		operations += workers[i].operations;
		found += workers[i].found;
	}
	if (workload->kind != WRITE && peer->end_reads != NULL)
		peer->end_reads();
	report(workload, operations, found, (double)(bench_now_ns() - begin) / 1e9);
}

/* Opens what a process leaves that was killed in the middle of a fillrandom, and reads one key. */
static void run_open(struct bench *bench)
{
	static const struct workload fill = {"open", WRITE, ANY, 1, false}, get = {"open", GET, ANY, 1, false};
	struct worker worker = make_worker(bench, &fill, 0), reader = make_worker(bench, &get, 0);
	uint64_t begin;
	pid_t child;
	int status;

	set_open(bench, false, false);
	child = fork();
	if (child < 0)
		peer_die("fork", strerror(errno));
	if (child == 0) {
		bench->peer->open(&bench->settings);
		run_worker(&worker);
		kill(getpid(), SIGKILL);
	}
	if (waitpid(child, &status, 0) < 0 || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
		peer_die("open", "the process that was to be killed ended otherwise");
	begin = bench_now_ns();
	set_open(bench, true, false);
	if (bench->peer->begin_reads != NULL)
		bench->peer->begin_reads();
	do_one(&reader, 0);
	printf("{\"workload\": \"open\", \"milliseconds\": %.3f, \"operations\": %" PRIu64 "}\n",
	       (double)(bench_now_ns() - begin) / 1e6, worker.operations);
	if (bench->peer->end_reads != NULL)
		bench->peer->end_reads();
}

static void run_named(struct bench *bench, const char *name)
{
	if (strcmp(name, "open") == 0) {
		run_open(bench);
		return;
	}
	for (size_t i = 0; i < sizeof workloads / sizeof workloads[0]; i++)
		if (strcmp(name, workloads[i].name) == 0) {
			run(bench, &workloads[i]);
			return;
		}
	peer_die(name, "there is no such workload");
}

static const struct peer *find_peer(const char *name)
{
	for (int i = 0; i < PEER_COUNT; i++)
		if (strcmp(peers[i]->name, name) == 0)
			return peers[i];
	peer_die(name, "not compiled in (see --peers)");
}

static uint64_t parse_number(const char *text)
{
	char *end;
	uint64_t value = strtoull(text, &end, 10);

	if (*end || end == text)
		peer_die(text, "is not a number");
	return value;
}

static void parse(struct bench *bench, int argc, char **argv)
{
	static const struct option options[] = {{"num", 1, NULL, 'n'},      {"reads", 1, NULL, 'r'},
						{"writes", 1, NULL, 'w'},   {"value-bytes", 1, NULL, 'v'},
						{"cache-mb", 1, NULL, 'c'}, {"buffer-mb", 1, NULL, 'b'},
						{"seed", 1, NULL, 's'},     {0}};
	uint64_t given[128] = {['n'] = 1000000, ['v'] = 128, ['c'] = 256, ['b'] = 64, ['s'] = 1};
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (option == '?')
			exit(2);
		given[option] = parse_number(optarg);
	}
	bench->data = (struct bench_data){
		.key_count = given['n'], .key_bytes = KEY_BYTES, .value_bytes = (uint32_t)given['v']};
	bench->settings = (struct peer_settings){.cache_bytes = given['c'] << 20, .buffer_bytes = given['b'] << 20};
	bench->reads = given['r'] ? given['r'] : given['n'];
	bench->writes = given['w'] ? given['w'] : given['n'];
	bench->seed = given['s'];
}

int main(int argc, char **argv)
{
	struct bench bench = {0};
	char *rest;

	if (argc == 2 && strcmp(argv[1], "--peers") == 0) {
		for (int i = 0; i < PEER_COUNT; i++)
			printf("%s\n", peers[i]->name);
		return 0;
	}
	parse(&bench, argc, argv);
	if (argc - optind != 3) {
		fprintf(stderr, "usage: peer_bench PEER DIR WORKLOAD,... [OPTION...], or peer_bench --peers\n");
		return 2;
	}
	bench.peer = find_peer(argv[optind]);
	bench.settings.directory = argv[optind + 1];
	rest = argv[optind + 2];
	if (bench_data_init(&bench.data, 1))
		peer_die("options", "num must not be 0, value-bytes must be at most 524288");
	for (char *name; (name = strsep(&rest, ",")) != NULL;)
		run_named(&bench, name);
	set_open(&bench, false, false);
	bench_data_fini(&bench.data);
	return 0;
}
