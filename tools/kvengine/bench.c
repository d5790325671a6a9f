#include "bench.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"
#include "pool.h"
#include "scratch.h"

enum { TEXT_BYTES = 1 << 20, KEY_BYTES_MAX = 64, TEND_EVERY = 64, SAMPLE_EVERY = 8, FRESH_EVERY = 4096 };

struct bench {
	const struct bench_options *options;
	struct engine *engine;
	struct pool *pool;
	uint8_t *text;
};

struct random {
	uint64_t state;
};

/* One thread's part of a workload. */
struct worker {
	struct bench *bench;
	struct shard *shard; /* it owns */
	uint32_t index;
	uint64_t operations;
	struct random random;
	struct histogram histogram;
	uint64_t found;
	int rc;
};

static uint64_t random_next(struct random *random)
{
	uint64_t x = (random->state += 0x9e3779b97f4a7c15u);

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return x ^ x >> 31;
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- keys and values ----------------------------------------------------------------------------------------- */

static struct engine_slice make_key(const struct bench *bench, uint64_t number, uint8_t out[KEY_BYTES_MAX])
{
	uint32_t size = bench->options->key_bytes;

	memset(out, '0', size);
	for (int i = 0; i < 8; i++)
		out[i] = (uint8_t)(number >> (56 - 8 * i));
	return (struct engine_slice){out, size};
}

/* Half of the bytes are random, each said twice in a piece of a hundred. */
static void fill_text(uint8_t *text, uint64_t seed)
{
	struct random random = {seed};

	for (size_t i = 0; i < TEXT_BYTES; i += 100) {
		for (size_t j = i; j < i + 50 && j < TEXT_BYTES; j++)
			text[j] = (uint8_t)(' ' + random_next(&random) % 95);
		for (size_t j = i + 50; j < i + 100 && j < TEXT_BYTES; j++)
			text[j] = text[j - 50];
	}
}

static struct engine_slice value_of(const struct bench *bench, uint64_t number)
{
	uint64_t room = TEXT_BYTES - bench->options->value_bytes;

	return (struct engine_slice){bench->text + number * 0x9e3779b97f4a7c15u % room, bench->options->value_bytes};
}

static bool is_right(const struct bench *bench, uint64_t number, struct engine_slice value)
{
	struct engine_slice expected = value_of(bench, number);

	return value.size == expected.size && memcmp(value.data, expected.data, expected.size) == 0;
}

/* Zipfian numbers with exponent 1: the rank is n to the power of a uniform number, so its density is 1/rank. This is
 * what db_bench draws with --read_random_exp_range=ln(n). */
static uint64_t zipf_next(const struct bench *bench, struct random *random)
{
	double n = (double)bench->options->key_count, u = (double)(random_next(random) >> 11) / (double)(1ull << 53);
	uint64_t rank = (uint64_t)(n * exp(-u * log(n)));

	/* The hot ones are spread over the keys. */
	return rank * 0x9e3779b97f4a7c15u % bench->options->key_count;
}

/* Keys are dealt to the shards by number. A worker that owns shard i of n draws only numbers that are i modulo n. */
static uint64_t own_number(const struct worker *worker, uint64_t number)
{
	uint64_t shards = engine_shard_count(worker->bench->engine);

	number = number - number % shards + worker->index % shards;
	return number < worker->bench->options->key_count ? number : worker->index % shards;
}

static uint64_t random_number(struct worker *worker)
{
	return own_number(worker, random_next(&worker->random) % worker->bench->options->key_count);
}

/* ---- writing ------------------------------------------------------------------------------------------------- */

static int fail(struct worker *worker, int rc, const char *what)
{
	const char *text = worker->shard ? shard_error(worker->shard) : "";

	fprintf(stderr, "kvengine bench: %s: %s%s%s\n", what, strerror(-rc), *text ? ": " : "", text);
	worker->rc = rc;
	return rc;
}

/* Writes, waiting for background work as the engine asks for it. */
static int write_batch(struct worker *worker, const struct engine_batch *batch, enum engine_sync sync)
{
	struct pool *pool = worker->bench->pool;
	int rc;

	while ((rc = shard_write(worker->shard, batch)) == -EAGAIN) {
		rc = pool_tend(pool, worker->shard, true);
		if (rc)
			return rc;
	}
	return rc ? rc : shard_commit(worker->shard, sync);
}

static int put(struct worker *worker, struct engine_batch *batch, uint64_t number, enum engine_sync sync)
{
	uint8_t bytes[KEY_BYTES_MAX];
	int rc;

	engine_batch_clear(batch);
	rc = engine_batch_put(batch, make_key(worker->bench, number, bytes), value_of(worker->bench, number), 0);
	return rc ? rc : write_batch(worker, batch, sync);
}

static void fill(struct worker *worker, bool in_order, enum engine_sync sync)
{
	uint64_t shards = engine_shard_count(worker->bench->engine);
	struct engine_batch *batch;
	int rc = engine_batch_create(&batch);

	for (uint64_t i = 0; rc == 0 && i < worker->operations; i++) {
		uint64_t begin = i % SAMPLE_EVERY ? 0 : now_ns();

		rc = put(worker, batch, in_order ? i * shards + worker->index : random_number(worker), sync);
		if (rc == 0 && i % TEND_EVERY == 0)
			rc = pool_tend(worker->bench->pool, worker->shard, false);
		if (begin)
			histogram_add(&worker->histogram, now_ns() - begin);
	}
	engine_batch_destroy(&batch);
	if (rc)
		fail(worker, rc, "write");
}

static void run_fillseq(struct worker *worker)
{
	fill(worker, true, ENGINE_SYNC_NONE);
}

static void run_fillrandom(struct worker *worker)
{
	fill(worker, false, ENGINE_SYNC_NONE);
}

static void run_fillsync(struct worker *worker)
{
	fill(worker, false, ENGINE_SYNC_EACH);
}

/* ---- reading ------------------------------------------------------------------------------------------------- */

static int check(struct worker *worker, uint64_t number, int rc, struct engine_value *value)
{
	if (rc == 1) {
		worker->found++;
		if (!is_right(worker->bench, number, (struct engine_slice){value->data, value->size}))
			rc = -EBADMSG;
		engine_value_release(value);
	}
	return rc;
}

enum choice { ANY, MISSING, HOT };

static void read_keys(struct worker *worker, enum choice choice)
{
	for (uint64_t i = 0; i < worker->operations; i++) {
		uint64_t number = choice == HOT ? own_number(worker, zipf_next(worker->bench, &worker->random))
						: random_number(worker);
		uint64_t begin = i % SAMPLE_EVERY ? 0 : now_ns();
		uint8_t bytes[KEY_BYTES_MAX];
		struct engine_slice key = make_key(worker->bench, number, bytes);
		struct engine_value value;
		int rc;

		if (choice == MISSING)
			bytes[key.size - 1] = '.';
		rc = check(worker, number, shard_get(worker->shard, key, &value), &value);
		if (rc < 0) {
			fail(worker, rc, "read");
			return;
		}
		if (begin)
			histogram_add(&worker->histogram, now_ns() - begin);
	}
}

static void run_readrandom(struct worker *worker)
{
	read_keys(worker, ANY);
}

static void run_readmissing(struct worker *worker)
{
	read_keys(worker, MISSING);
}

static void run_readhot(struct worker *worker)
{
	read_keys(worker, HOT);
}

static void run_seekrandom(struct worker *worker)
{
	struct engine_snapshot *snapshot;
	struct engine_iterator *iterator;
	int rc = shard_snapshot(worker->shard, &snapshot);

	if (rc) {
		fail(worker, rc, "snapshot");
		return;
	}
	rc = engine_iterator_create(snapshot, &iterator);
	for (uint64_t i = 0; rc >= 0 && i < worker->operations; i++) {
		uint64_t number = random_number(worker);
		uint64_t begin = i % SAMPLE_EVERY ? 0 : now_ns();
		uint8_t bytes[KEY_BYTES_MAX];
		struct engine_slice key = make_key(worker->bench, number, bytes);

		rc = engine_iterator_seek(iterator, key);
		if (rc == 1 && engine_iterator_key(iterator).size == key.size &&
		    memcmp(engine_iterator_key(iterator).data, key.data, key.size) == 0) {
			worker->found++;
			if (!is_right(worker->bench, number, engine_iterator_value(iterator)))
				rc = -EBADMSG;
		}
		if (begin)
			histogram_add(&worker->histogram, now_ns() - begin);
	}
	engine_iterator_destroy(&iterator);
	engine_snapshot_release(&snapshot);
	if (rc < 0)
		fail(worker, rc, "seek");
}

/* ---- several threads ----------------------------------------------------------------------------------------- */

/* What a workload with readers or clients beside one owner shares. */
struct shared {
	struct bench *bench;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	struct engine_snapshot *snapshot; /* the newest, for readers to take */
	unsigned snapshot_users;
	bool is_stale; /* a reader asks for a new one */
	unsigned running;
	/* clients of fillsync */
	struct client *first, **last;
};

struct client {
	struct client *next;
	struct shared *shared;
	struct worker worker;
	uint64_t number;
	bool done;
	pthread_cond_t answered;
};

static void *read_beside(void *arg)
{
	struct client *client = arg;
	struct shared *shared = client->shared;
	struct worker *worker = &client->worker;

	for (uint64_t i = 0; i < worker->operations && worker->rc == 0;) {
		/* The owner makes a new snapshot as soon as nobody uses the last one. */
		pthread_mutex_lock(&shared->lock);
		while (!shared->snapshot || shared->is_stale)
			pthread_cond_wait(&shared->changed, &shared->lock);
		shared->snapshot_users++;
		pthread_mutex_unlock(&shared->lock);
		for (unsigned j = 0; j < FRESH_EVERY && i < worker->operations && worker->rc == 0; j++, i++) {
			uint64_t number = random_number(worker), begin = i % SAMPLE_EVERY ? 0 : now_ns();
			uint8_t bytes[KEY_BYTES_MAX];
			struct engine_value value;
			int rc = engine_snapshot_get(shared->snapshot, make_key(shared->bench, number, bytes), &value);

			rc = check(worker, number, rc, &value);
			if (rc < 0)
				fail(worker, rc, "read");
			if (begin)
				histogram_add(&worker->histogram, now_ns() - begin);
		}
		pthread_mutex_lock(&shared->lock);
		shared->snapshot_users--;
		shared->is_stale = true;
		pthread_mutex_unlock(&shared->lock);
	}
	pthread_mutex_lock(&shared->lock);
	shared->running--;
	pthread_mutex_unlock(&shared->lock);
	return NULL;
}

static int refresh(struct shared *shared, struct shard *shard)
{
	struct engine_snapshot *fresh, *old;
	int rc;

	pthread_mutex_lock(&shared->lock);
	if ((shared->snapshot && !shared->is_stale) || shared->snapshot_users) {
		pthread_mutex_unlock(&shared->lock);
		return 0;
	}
	rc = shard_snapshot(shard, &fresh);
	old = shared->snapshot;
	if (rc == 0) {
		shared->snapshot = fresh;
		shared->is_stale = false;
		pthread_cond_broadcast(&shared->changed);
	}
	pthread_mutex_unlock(&shared->lock);
	if (rc == 0)
		engine_snapshot_release(&old);
	return rc;
}

static bool any_running(struct shared *shared)
{
	bool any;

	pthread_mutex_lock(&shared->lock);
	any = shared->running > 0;
	pthread_mutex_unlock(&shared->lock);
	return any;
}

static int start_clients(struct shared *shared, struct client *clients, pthread_t *threads, unsigned count,
			 const struct worker *like, void *(*body)(void *))
{
	shared->running = count;
	for (unsigned i = 0; i < count; i++) {
		clients[i].shared = shared;
		clients[i].worker = *like;
		clients[i].worker.random.state += i * 7919 + 1;
		clients[i].worker.operations = like->operations / count;
		pthread_cond_init(&clients[i].answered, NULL);
		if (pthread_create(&threads[i], NULL, body, &clients[i]))
			return -EAGAIN;
	}
	return 0;
}

static void join_clients(struct worker *worker, struct client *clients, pthread_t *threads, unsigned count)
{
	for (unsigned i = 0; i < count; i++) {
		pthread_join(threads[i], NULL);
		histogram_merge(&worker->histogram, &clients[i].worker.histogram);
		worker->found += clients[i].worker.found;
		if (clients[i].worker.rc)
			worker->rc = clients[i].worker.rc;
		pthread_cond_destroy(&clients[i].answered);
	}
}

/* One owner overwrites as fast as it can while `threads` readers read; what is counted is the reads. */
static void run_readwhilewriting(struct worker *worker)
{
	unsigned count = worker->bench->options->threads;
	struct shared shared = {.bench = worker->bench};
	struct client *clients = calloc(count, sizeof(*clients));
	pthread_t *threads = calloc(count, sizeof(*threads));
	struct engine_batch *batch;
	uint64_t written = 0;
	int rc = engine_batch_create(&batch);

	pthread_mutex_init(&shared.lock, NULL);
	pthread_cond_init(&shared.changed, NULL);
	if (rc == 0)
		rc = start_clients(&shared, clients, threads, count, worker, read_beside);
	while (rc == 0 && any_running(&shared)) {
		for (unsigned i = 0; rc == 0 && i < TEND_EVERY; i++, written++)
			rc = put(worker, batch, random_number(worker), ENGINE_SYNC_NONE);
		if (rc == 0)
			rc = pool_tend(worker->bench->pool, worker->shard, false);
		if (rc == 0)
			rc = refresh(&shared, worker->shard);
	}
	if (rc) {
		fail(worker, rc, "write");
		exit(1);
	}
	join_clients(worker, clients, threads, count);
	fprintf(stderr, "(%" PRIu64 " writes beside the reads) ", written);
	engine_snapshot_release(&shared.snapshot);
	engine_batch_destroy(&batch);
	free(clients);
	free(threads);
}

static void *submit_writes(void *arg)
{
	struct client *client = arg;
	struct shared *shared = client->shared;

	for (uint64_t i = 0; i < client->worker.operations; i++) {
		uint64_t begin = now_ns();

		client->number = random_number(&client->worker);
		pthread_mutex_lock(&shared->lock);
		client->next = NULL;
		client->done = false;
		*shared->last = client;
		shared->last = &client->next;
		pthread_cond_signal(&shared->changed);
		while (!client->done)
			pthread_cond_wait(&client->answered, &shared->lock);
		pthread_mutex_unlock(&shared->lock);
		histogram_add(&client->worker.histogram, now_ns() - begin);
	}
	pthread_mutex_lock(&shared->lock);
	shared->running--;
	pthread_cond_signal(&shared->changed);
	pthread_mutex_unlock(&shared->lock);
	return NULL;
}

/* All writes that wait become one batch, one commit, one sync: what a replica does with its mailbox. */
static int serve_writes(struct worker *worker, struct shared *shared, struct engine_batch *batch)
{
	struct client *list;
	int rc = 0;

	pthread_mutex_lock(&shared->lock);
	while (!shared->first && shared->running)
		pthread_cond_wait(&shared->changed, &shared->lock);
	list = shared->first;
	shared->first = NULL;
	shared->last = &shared->first;
	pthread_mutex_unlock(&shared->lock);
	engine_batch_clear(batch);
	for (struct client *client = list; rc == 0 && client; client = client->next) {
		uint8_t bytes[KEY_BYTES_MAX];

		rc = engine_batch_put(batch, make_key(worker->bench, client->number, bytes),
				      value_of(worker->bench, client->number), 0);
	}
	if (rc == 0 && list)
		rc = write_batch(worker, batch, ENGINE_SYNC_EACH);
	pthread_mutex_lock(&shared->lock);
	while (list) {
		struct client *client = list;

		list = client->next;
		client->done = true;
		pthread_cond_signal(&client->answered);
	}
	pthread_mutex_unlock(&shared->lock);
	return rc;
}

static void run_fillsync16(struct worker *worker)
{
	enum { CLIENTS = 16 };
	struct shared shared = {.bench = worker->bench};
	struct client *clients = calloc(CLIENTS, sizeof(*clients));
	pthread_t threads[CLIENTS];
	struct engine_batch *batch;
	int rc = engine_batch_create(&batch);

	pthread_mutex_init(&shared.lock, NULL);
	pthread_cond_init(&shared.changed, NULL);
	shared.last = &shared.first;
	if (rc == 0)
		rc = start_clients(&shared, clients, threads, CLIENTS, worker, submit_writes);
	while (rc == 0 && any_running(&shared)) {
		rc = serve_writes(worker, &shared, batch);
		if (rc == 0)
			rc = pool_tend(worker->bench->pool, worker->shard, false);
	}
	if (rc) {
		fail(worker, rc, "write");
		exit(1);
	}
	join_clients(worker, clients, threads, CLIENTS);
	engine_batch_destroy(&batch);
	free(clients);
}

/* ---- the list of workloads ----------------------------------------------------------------------------------- */

struct workload {
	const char *name;
	void (*run)(struct worker *);
	bool empties; /* begins with an empty store */
	bool writes;
	bool one_owner;  /* works on one shard; threads are readers or clients */
	uint64_t divide; /* fewer operations: syncs are slow */
};

static const struct workload workloads[] = {
	{"fillseq", run_fillseq, true, true, false, 1},
	{"fillrandom", run_fillrandom, true, true, false, 1},
	{"overwrite", run_fillrandom, false, true, false, 1},
	{"readrandom", run_readrandom, false, false, false, 1},
	{"readmissing", run_readmissing, false, false, false, 1},
	{"readhot", run_readhot, false, false, false, 1},
	{"seekrandom", run_seekrandom, false, false, false, 1},
	{"readwhilewriting", run_readwhilewriting, false, false, true, 1},
	{"fillsync", run_fillsync, true, true, true, 1000},
	{"fillsync16", run_fillsync16, true, true, true, 100},
};

static void *run_worker(void *arg);

struct start {
	const struct workload *workload;
	struct worker worker;
};

static void *run_worker(void *arg)
{
	struct start *start = arg;

	start->workload->run(&start->worker);
	return NULL;
}

static int open_engine(struct bench *bench)
{
	struct engine_error error;
	int rc = engine_open(&bench->options->engine, &bench->engine, &error);

	if (rc)
		fprintf(stderr, "kvengine bench: %s\n", error.text);
	return rc;
}

static int drain_all(struct bench *bench)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < engine_shard_count(bench->engine); i++)
		rc = pool_drain(bench->pool, engine_shard(bench->engine, i));
	return rc;
}

static int close_engine(struct bench *bench)
{
	int rc;

	if (!bench->engine)
		return 0;
	rc = drain_all(bench);
	return rc ? rc : engine_close(&bench->engine);
}

static int empty_store(struct bench *bench)
{
	int rc = close_engine(bench);

	if (rc == 0)
		rc = scratch_empty(bench->options->engine.directory);
	return rc ? rc : open_engine(bench);
}

static void sum_stats(const struct bench *bench, struct shard_stats *sum)
{
	*sum = (struct shard_stats){0};
	for (uint32_t i = 0; i < engine_shard_count(bench->engine); i++) {
		struct shard_stats stats;

		shard_stats(engine_shard(bench->engine, i), &stats);
		sum->disk_bytes += stats.disk_bytes;
		sum->user_bytes_written += stats.user_bytes_written;
		sum->log_bytes_written += stats.log_bytes_written;
		sum->flush_bytes_written += stats.flush_bytes_written;
		sum->compaction_bytes_written += stats.compaction_bytes_written;
		sum->table_count += stats.table_count;
		sum->cache_hits += stats.cache_hits;
		sum->cache_misses += stats.cache_misses;
		sum->filter_checks += stats.filter_checks;
		sum->filter_false_positives += stats.filter_false_positives;
	}
}

static void report(const struct bench *bench, const struct workload *workload, uint64_t operations, uint64_t ns,
		   const struct histogram *histogram, uint64_t found)
{
	struct shard_stats stats;
	struct rusage usage;
	double seconds = (double)ns / 1e9, written;

	sum_stats(bench, &stats);
	getrusage(RUSAGE_SELF, &usage);
	written = (double)(stats.log_bytes_written + stats.flush_bytes_written + stats.compaction_bytes_written);
	if (bench->options->json) {
		printf("{\"workload\": \"%s\", \"ops_per_second\": %.0f, \"seconds\": %.3f, \"operations\": %" PRIu64
		       ", \"found\": %" PRIu64
		       ", \"p50_us\": %.2f, \"p99_us\": %.2f, \"max_us\": %.0f, \"disk_bytes\": %" PRIu64
		       ", \"user_bytes\": %" PRIu64 ", \"written_bytes\": %.0f, \"rss_kb\": %ld}\n",
		       workload->name, (double)operations / seconds, seconds, operations, found,
		       (double)histogram_quantile(histogram, 0.5) / 1e3,
		       (double)histogram_quantile(histogram, 0.99) / 1e3,
		       (double)histogram_quantile(histogram, 1) / 1e3, stats.disk_bytes, stats.user_bytes_written,
		       written, usage.ru_maxrss);
	} else {
		printf("%-16s %9.0f ops/s %8.3f us/op  p50 %7.2f  p99 %8.2f  max %9.0f us  found %" PRIu64
		       "  tables %u  disk %.1f MB  written/user %.2f  cache hits %.3f\n",
		       workload->name, (double)operations / seconds, seconds * 1e6 / (double)operations,
		       (double)histogram_quantile(histogram, 0.5) / 1e3,
		       (double)histogram_quantile(histogram, 0.99) / 1e3,
		       (double)histogram_quantile(histogram, 1) / 1e3, found, stats.table_count,
		       (double)stats.disk_bytes / 1e6,
		       stats.user_bytes_written ? written / (double)stats.user_bytes_written : 0,
		       (double)stats.cache_hits / (double)(stats.cache_hits + stats.cache_misses + 1));
	}
	fflush(stdout);
}

static int run_workload(struct bench *bench, const struct workload *workload)
{
	const struct bench_options *options = bench->options;
	unsigned count = workload->one_owner ? 1 : engine_shard_count(bench->engine);
	uint64_t total = workload->writes || !options->operations ? options->key_count : options->operations;
	struct start *starts = calloc(count, sizeof(*starts));
	pthread_t *threads = calloc(count, sizeof(*threads));
	struct histogram *histogram = calloc(1, sizeof(*histogram));
	uint64_t begin, end, found = 0;
	int rc = starts && threads && histogram ? 0 : -ENOMEM;

	total /= workload->divide;
	begin = now_ns();
	for (unsigned i = 0; rc == 0 && i < count; i++) {
		starts[i].workload = workload;
		starts[i].worker = (struct worker){
			.bench = bench,
			.shard = engine_shard(bench->engine, i),
			.index = i,
			.operations = total / count,
			.random = {options->seed + (uint64_t)(workload - workloads) * 1000003 + i},
		};
		if (pthread_create(&threads[i], NULL, run_worker, &starts[i]))
			return -EAGAIN;
	}
	for (unsigned i = 0; rc == 0 && i < count; i++)
		pthread_join(threads[i], NULL);
	end = now_ns();
	for (unsigned i = 0; rc == 0 && i < count; i++) {
		rc = starts[i].worker.rc;
		found += starts[i].worker.found;
		histogram_merge(histogram, &starts[i].worker.histogram);
	}
	if (rc == 0)
		report(bench, workload, total, end - begin, histogram, found);
	free(starts);
	free(threads);
	free(histogram);
	return rc;
}

/* Opens a store whose process was killed in the middle of writing. */
static int run_open(struct bench *bench)
{
	struct shard_stats stats;
	uint64_t begin;
	pid_t child;
	int rc = close_engine(bench), status;

	fflush(stdout);
	pool_destroy(&bench->pool);
	child = rc ? -1 : fork();
	if (child < 0)
		return rc ? rc : -errno;
	if (child == 0) {
		struct worker worker = {.bench = bench, .operations = 300000, .random = {7}};

		if (pool_create(1, &bench->pool) || open_engine(bench))
			_exit(1);
		worker.shard = engine_shard(bench->engine, 0);
		fill(&worker, false, ENGINE_SYNC_NONE);
		kill(getpid(), SIGKILL);
	}
	if (waitpid(child, &status, 0) < 0 || !WIFSIGNALED(status))
		return -EIO;
	rc = pool_create(bench->options->job_threads, &bench->pool);
	begin = now_ns();
	if (rc == 0)
		rc = open_engine(bench);
	if (rc)
		return rc;
	shard_stats(engine_shard(bench->engine, 0), &stats);
	printf("%-16s %9.3f ms after a kill, %" PRIu64 " batches replayed\n", "open", (double)(now_ns() - begin) / 1e6,
	       stats.recovered_batches);
	return 0;
}

static int run_named(struct bench *bench, const char *name)
{
	if (strcmp(name, "open") == 0)
		return run_open(bench);
	if (strcmp(name, "settle") == 0) /* flush, and let the background finish */
		return drain_all(bench);
	for (size_t i = 0; i < sizeof(workloads) / sizeof(workloads[0]); i++) {
		if (strcmp(name, workloads[i].name) != 0)
			continue;
		if (workloads[i].empties && !bench->options->keep) {
			int rc = empty_store(bench);

			if (rc)
				return rc;
		}
		return run_workload(bench, &workloads[i]);
	}
	fprintf(stderr, "kvengine bench: no workload '%s'. There are: open settle", name);
	for (size_t i = 0; i < sizeof(workloads) / sizeof(workloads[0]); i++)
		fprintf(stderr, " %s", workloads[i].name);
	fprintf(stderr, "\n");
	return -EINVAL;
}

int bench_run(const struct bench_options *asked)
{
	struct bench_options own = *asked;
	const struct bench_options *options = &own;
	struct bench bench = {.options = options};
	char store[4096];
	int rc = scratch_open(asked->engine.directory, store, sizeof(store));
	char *list = rc ? NULL : strdup(options->workloads), *rest = list;

	if (rc)
		return rc;
	own.engine.directory = store;
	bench.text = malloc(TEXT_BYTES);
	if (!list || !bench.text || options->key_bytes < 8 || options->key_bytes > KEY_BYTES_MAX) {
		free(list);
		free(bench.text);
		return -EINVAL;
	}
	fill_text(bench.text, options->seed);
	rc = pool_create(options->job_threads, &bench.pool);
	if (rc == 0)
		rc = open_engine(&bench);
	for (char *name; rc == 0 && (name = strsep(&rest, ","));)
		rc = run_named(&bench, name);
	if (bench.engine && rc == 0)
		rc = close_engine(&bench);
	pool_destroy(&bench.pool);
	free(bench.text);
	free(list);
	return rc;
}
