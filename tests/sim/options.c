/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/options.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

const char *canary_name(enum canary canary)
{
	static const char *const names[CANARY_COUNT] = {
		"none",        "early-ack",          "lying-disk",        "old-counters",
		"kept-actor",  "kept-actor-orderly", "forget-superseded", "switch-early",
		"ignore-epoch"};
	return names[canary];
}

enum option_number {
	OPTION_SEED = 1000,
	OPTION_SEEDS,
	OPTION_FRESH,
	OPTION_SECONDS,
	OPTION_CANARY,
	OPTION_WITHIN,
	OPTION_TRACE,
	OPTION_TWICE,
	OPTION_QUIET,
	OPTION_HASHES,
	OPTION_HELP,
};

struct number_option {
	const char *name;
	size_t offset;
	uint32_t least, most;
	const char *help;
};

#define NUMBER(name, field, least, most, help)                                                                         \
	{                                                                                                              \
		name, offsetof(struct sim_options, field), least, most, help                                           \
	}

static const struct number_option number_options[] = {
	NUMBER("nodes", nodes, 1, NETWORK_MACHINES_MAX, "machines"),
	NUMBER("ops", operations, 1, 1000000, "operations of all clients together"),
	NUMBER("clients", clients, 1, 256, "clients at work at once"),
	NUMBER("keys", keys, 1, 10000, "keys"),
	NUMBER("replicas", replicas, 1, 8, "N, copies of a key"),
	NUMBER("r", r, 1, 8, "replicas a get needs"),
	NUMBER("w", w, 1, 8, "replicas a put needs"),
	NUMBER("shards", shards, 1, 16, "engine shards of a machine"),
	NUMBER("coordinators", coordinators, 1, 8, "coordinators of a machine"),
	NUMBER("partitions", partitions, 8, 1024, "partitions, a power of two"),
	NUMBER("memtable-kib", memtable_kib, 16, 65536, "of a shard: small ones are flushed and merged all the time"),
	NUMBER("down-together", down_together, 1, NETWORK_MACHINES_MAX, "machines that may be down at once"),
	NUMBER("attempts", attempts, 1, 1000, "of a client, before it gives a write up"),
	NUMBER("crash-rate", crash_rate, 0, 100000, "crashes per simulated minute"),
	NUMBER("restore", restore_permille, 0, 1000,
	       "starts of one machine, permille, before which its directory is put back from a copy; w and r are "
	       "majorities then"),
	NUMBER("partition-rate", partition_rate, 0, 100000, "network cuts per simulated minute"),
	NUMBER("pause-rate", pause_rate, 0, 100000, "machines stopped for a while, per simulated minute"),
	NUMBER("change-rate", change_rate, 0, 100000, "changes of the ring per simulated minute; none unless given"),
	NUMBER("move-rate", move_rate, 0, 100000,
	       "joins, leaves, replaced machines and the like per simulated minute; none unless given; w and r are "
	       "majorities then"),
	NUMBER("members", members, 1, NETWORK_MACHINES_MAX,
	       "machines of the first ring; all unless --move-rate is given"),
	NUMBER("late", late_permille, 0, 1000, "writes that are tried once more when long over, permille"),
	NUMBER("disk-error-rate", disk_error_rate, 0, 100000, "failing disk operations per simulated minute"),
	NUMBER("loss", loss_permille, 0, 1000, "messages lost, permille"),
	NUMBER("duplicates", duplicate_permille, 0, 1000, "messages sent twice, permille"),
	NUMBER("slow", slow_permille, 0, 1000, "messages that take long, permille"),
	NUMBER("delay-us", delay_us, 0, 10000000, "the others take up to twice this"),
	NUMBER("deadline-ms", deadline_ms, 1, 60000, "of an attempt of a client"),
	NUMBER("skew-ms", skew_ms, 0, 100000000, "wall clocks are wrong by up to this"),
};

enum { NUMBER_OPTION_COUNT = sizeof number_options / sizeof number_options[0] };

void options_default(struct sim_options *options)
{
	*options = (struct sim_options){.first_seed = 1, .last_seed = 1, .expect_within = 200};
	for (int i = 0; i < NUMBER_OPTION_COUNT; i++)
		*(uint32_t *)((char *)options + number_options[i].offset) = OPTION_DRAWN;
}

static void print_help(bool canary_allowed)
{
	printf("kvsim: a whole cluster in one thread, under virtual time, from a seed\n\n"
	       "  --seed S            this seed (1)\n"
	       "  --seeds A..B        all from A to B\n"
	       "  --fresh N           and N more that nobody has run, from the clock\n"
	       "  --seconds N         begin no seed after so long\n"
	       "  --twice             each seed twice: the hashes must be equal\n"
	       "  --trace             the transcript of everything, on stdout (one seed)\n"
	       "  --hashes            the trace hash of each seed, to compare two builds\n"
	       "  --quiet             only the summary\n");
	for (int i = 0; i < NUMBER_OPTION_COUNT; i++)
		printf("  --%-17s %s, %u to %u (drawn from the seed)\n", number_options[i].name, number_options[i].help,
		       number_options[i].least, number_options[i].most);
	if (canary_allowed)
		printf("  --canary NAME       plant a bug: early-ack, lying-disk, old-counters,\n"
		       "                      kept-actor, kept-actor-orderly, forget-superseded,\n"
		       "                      switch-early or ignore-epoch;\n"
		       "                      exit 0 when it is found\n"
		       "  --within N          in at most N seeds (200)\n");
	printf("\nexit 0: every rule held. 1: one was broken: its seed, its story and the command that repeats it are "
	       "printed.\n");
}

static bool parse_number(const char *name, const char *text, uint64_t least, uint64_t most, uint64_t *out)
{
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 0);
	if (errno || *end || end == text || text[0] == '-' || *out < least || *out > most) {
		fprintf(stderr, "kvsim: --%s takes a number from %" PRIu64 " to %" PRIu64 ", not \"%s\"\n", name, least,
			most, text);
		return false;
	}
	return true;
}

static bool parse_seeds(struct sim_options *options, const char *text)
{
	char first[32];
	const char *dots = strstr(text, "..");

	if (dots == NULL || (size_t)(dots - text) >= sizeof first) {
		fprintf(stderr, "kvsim: --seeds takes A..B, not \"%s\"\n", text);
		return false;
	}
	memcpy(first, text, (size_t)(dots - text));
	first[dots - text] = 0;
	return parse_number("seeds", first, 0, UINT64_MAX, &options->first_seed) &&
	       parse_number("seeds", dots + 2, options->first_seed, UINT64_MAX, &options->last_seed);
}

static bool parse_canary(struct sim_options *options, const char *text)
{
	for (enum canary canary = CANARY_NONE + 1; canary < CANARY_COUNT; canary++) {
		if (!strcmp(text, canary_name(canary))) {
			options->canary = canary;
			return true;
		}
	}
	fprintf(stderr, "kvsim: no canary is called \"%s\"\n", text);
	return false;
}

static bool take_number_option(struct sim_options *options, const struct number_option *option)
{
	uint64_t number;

	if (!parse_number(option->name, optarg, option->least, option->most, &number))
		return false;
	*(uint32_t *)((char *)options + option->offset) = (uint32_t)number;
	return true;
}

static bool take_count(struct sim_options *options, int option)
{
	uint32_t *field = option == OPTION_FRESH     ? &options->fresh_seeds
			  : option == OPTION_SECONDS ? &options->seconds
						     : &options->expect_within;
	const char *name = option == OPTION_FRESH ? "fresh" : option == OPTION_SECONDS ? "seconds" : "within";
	uint64_t number;

	if (!parse_number(name, optarg, 0, 1000000, &number))
		return false;
	*field = (uint32_t)number;
	return true;
}

static bool take_option(struct sim_options *options, int option, bool canary_allowed)
{
	switch (option) {
	case OPTION_SEED:
		if (!parse_number("seed", optarg, 0, UINT64_MAX, &options->first_seed))
			return false;
		options->last_seed = options->first_seed;
		return true;
	case OPTION_SEEDS:
		return parse_seeds(options, optarg);
	case OPTION_FRESH:
	case OPTION_WITHIN:
	case OPTION_SECONDS:
		return take_count(options, option);
	case OPTION_CANARY:
		return parse_canary(options, optarg);
	case OPTION_TRACE:
		return options->trace = true;
	case OPTION_TWICE:
		return options->twice = true;
	case OPTION_HASHES:
		return options->hashes = true;
	case OPTION_QUIET:
		return options->quiet = true;
	case OPTION_HELP:
		print_help(canary_allowed);
		exit(0);
	default:
		return option >= 0 && option < NUMBER_OPTION_COUNT &&
		       take_number_option(options, &number_options[option]);
	}
}

bool options_parse(struct sim_options *options, int argc, char **argv, bool canary_allowed)
{
	struct option table[NUMBER_OPTION_COUNT + 16] = {0};
	int count = 0, option;

	for (; count < NUMBER_OPTION_COUNT; count++)
		table[count] = (struct option){number_options[count].name, required_argument, NULL, count};
	table[count++] = (struct option){"seed", required_argument, NULL, OPTION_SEED};
	table[count++] = (struct option){"seeds", required_argument, NULL, OPTION_SEEDS};
	table[count++] = (struct option){"fresh", required_argument, NULL, OPTION_FRESH};
	table[count++] = (struct option){"trace", no_argument, NULL, OPTION_TRACE};
	table[count++] = (struct option){"seconds", required_argument, NULL, OPTION_SECONDS};
	table[count++] = (struct option){"twice", no_argument, NULL, OPTION_TWICE};
	table[count++] = (struct option){"hashes", no_argument, NULL, OPTION_HASHES};
	table[count++] = (struct option){"quiet", no_argument, NULL, OPTION_QUIET};
	table[count++] = (struct option){"help", no_argument, NULL, OPTION_HELP};
	if (canary_allowed) {
		table[count++] = (struct option){"canary", required_argument, NULL, OPTION_CANARY};
		table[count++] = (struct option){"within", required_argument, NULL, OPTION_WITHIN};
	}
	while ((option = getopt_long(argc, argv, "", table, NULL)) != -1)
		if (!take_option(options, option, canary_allowed))
			return false;
	if (optind < argc) {
		fprintf(stderr, "kvsim: \"%s\" is no option; see --help\n", argv[optind]);
		return false;
	}
	if (options->partitions != OPTION_DRAWN && (options->partitions & (options->partitions - 1))) {
		fprintf(stderr, "kvsim: --partitions %u is no power of two\n", options->partitions);
		return false;
	}
	return true;
}

static void print_given(const struct sim_options *options, FILE *file)
{
	for (int i = 0; i < NUMBER_OPTION_COUNT; i++) {
		uint32_t value = *(const uint32_t *)((const char *)options + number_options[i].offset);
		if (value != OPTION_DRAWN)
			fprintf(file, " --%s %u", number_options[i].name, value);
	}
	if (options->canary)
		fprintf(file, " --canary %s", canary_name(options->canary));
}

void options_print(const struct sim_options *options, FILE *file)
{
	fprintf(file, "kvsim --seeds %" PRIu64 "..%" PRIu64, options->first_seed, options->last_seed);
	if (options->fresh_seeds)
		fprintf(file, " --fresh %u", options->fresh_seeds);
	if (options->twice)
		fprintf(file, " --twice");
	print_given(options, file);
	fprintf(file, "   (the rest is drawn from each seed)\n");
}

void options_print_command(const struct sim_options *options, uint64_t seed, FILE *file)
{
	fprintf(file, "kvsim%s --seed %" PRIu64, options->canary ? "_canary" : "", seed);
	print_given(options, file);
	fprintf(file, " --trace\n");
}

/* ---- what a seed draws ---- */

static uint32_t pick(struct sim_random *random, uint32_t given, uint32_t low, uint32_t high)
{
	uint32_t drawn = (uint32_t)sim_random_between(random, low, high);
	return given == OPTION_DRAWN ? drawn : given;
}

/* One of these, so that calm and wild seeds both come up. */
static uint32_t pick_one(struct sim_random *random, uint32_t given, const uint32_t *choices, uint32_t count)
{
	uint32_t drawn = choices[sim_random_below(random, count)];
	return given == OPTION_DRAWN ? drawn : given;
}

#define PICK_ONE(random, given, ...)                                                                                   \
	pick_one(random, given, (const uint32_t[]){__VA_ARGS__},                                                       \
		 sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t))

static void draw_quorums(const struct sim_options *options, struct sim_random *random, struct sim_settings *out)
{
	out->replicas = PICK_ONE(random, options->replicas, 3, 3, 3, 1, 2, 5);
	if (out->replicas > out->nodes)
		out->replicas = out->nodes;
	uint32_t majority = out->replicas / 2 + 1;
	out->vary_quorums = options->r == OPTION_DRAWN && options->w == OPTION_DRAWN;
	out->r = PICK_ONE(random, options->r, majority, majority, majority, 1, out->replicas);
	out->w = PICK_ONE(random, options->w, majority, majority, majority, 1, out->replicas);
}

static void draw_weather(const struct sim_options *options, struct sim_random *random, struct sim_settings *out)
{
	out->network.delay_us = PICK_ONE(random, options->delay_us, 50, 300, 2000, 20000);
	out->network.slow_permille = PICK_ONE(random, options->slow_permille, 0, 10, 50, 200);
	out->network.slow_us = PICK_ONE(random, OPTION_DRAWN, 20000, 200000, 2000000);
	out->network.loss_permille = PICK_ONE(random, options->loss_permille, 0, 0, 5, 20, 100);
	out->network.duplicate_permille = PICK_ONE(random, options->duplicate_permille, 0, 5, 50);
	out->network.detect_us = PICK_ONE(random, OPTION_DRAWN, 10000, 300000, 3000000);
	out->commit_us = PICK_ONE(random, OPTION_DRAWN, 20, 200, 2000, 20000);
	out->stall_permille = PICK_ONE(random, OPTION_DRAWN, 0, 5, 50);
	out->commits_beside = sim_random_permille(random, 800);
}

/* A directory that goes back in time forgets what this machine alone had, so w is more than one; and what it had with others is
 * still read when r + w > N. */
static void draw_restores(const struct sim_options *options, struct sim_random *random, struct sim_settings *out)
{
	out->restore_permille = PICK_ONE(random, options->restore_permille, 0, 0, 0, 0, 500);
	if (!out->crash_rate || out->replicas < 2)
		out->restore_permille = 0;
	if (!out->restore_permille)
		return;
	out->vary_quorums = false;
	out->r = out->w = out->replicas / 2 + 1;
}

/* What moves from owner to owner is what a majority of them acknowledged. The number of owners changes too, so the quorum is
 * left to the nodes. */
static void draw_members(const struct sim_options *options, struct sim_random *random, struct sim_settings *out)
{
	out->members =
		options->members == OPTION_DRAWN || options->members > out->nodes ? out->nodes : options->members;
	if (out->move_rate == 0)
		return;
	if (options->members == OPTION_DRAWN)
		out->members = (uint32_t)sim_random_between(random, 1, out->nodes);
	out->vary_quorums = false;
	out->r = out->w = 0;
	/* A copy may be of a time when the machine was alone in the ring: then it asks nobody whether it went back in time. */
	if (options->restore_permille == OPTION_DRAWN)
		out->restore_permille = 0;
}

void options_draw(const struct sim_options *options, uint64_t seed, struct sim_settings *out)
{
	struct sim_random random;

	sim_random_seed(&random, seed);
	*out = (struct sim_settings){0};
	out->nodes = PICK_ONE(&random, options->nodes, 3, 3, 4, 5, 1, 2, 7);
	draw_quorums(options, &random, out);
	out->operations = pick(&random, options->operations, 100, 400);
	out->clients = pick(&random, options->clients, 1, 8);
	out->keys = PICK_ONE(&random, options->keys, 1, 3, 8, 30);
	out->shards = PICK_ONE(&random, options->shards, 1, 2, 3);
	out->coordinators = PICK_ONE(&random, options->coordinators, 1, 2);
	out->partitions = PICK_ONE(&random, options->partitions, 8, 32);
	out->crash_rate = PICK_ONE(&random, options->crash_rate, 0, 20, 60, 200, 600);
	out->partition_rate = PICK_ONE(&random, options->partition_rate, 0, 0, 20, 100);
	out->disk_error_rate = PICK_ONE(&random, options->disk_error_rate, 0, 0, 0, 30);
	out->skew_ms = PICK_ONE(&random, options->skew_ms, 0, 100, 5000, 500000);
	out->kill_permille = PICK_ONE(&random, OPTION_DRAWN, 0, 300, 700);
	out->down_max_ms = PICK_ONE(&random, OPTION_DRAWN, 10, 500, 5000);
	out->down_together = PICK_ONE(&random, options->down_together, 1, 1, 2, out->nodes);
	out->attempts = PICK_ONE(&random, options->attempts, 1, 4, 8);
	out->think_ms = PICK_ONE(&random, OPTION_DRAWN, 0, 2, 20, 100);
	out->deadline_ms = PICK_ONE(&random, options->deadline_ms, 100, 500, 2000);
	out->memtable_bytes = 1024 * PICK_ONE(&random, options->memtable_kib, 16, 64, 1024);
	out->cache_bytes = 1024 * PICK_ONE(&random, OPTION_DRAWN, 1, 16, 1024);
	draw_weather(options, &random, out);
	out->in_flight = PICK_ONE(&random, OPTION_DRAWN, 1, 2, 2, 8);
	draw_restores(options, &random, out);
	out->pause_rate = PICK_ONE(&random, options->pause_rate, 0, 0, 20, 100);
	out->late_permille = PICK_ONE(&random, options->late_permille, 0, 50, 300);
	out->change_rate = options->change_rate == OPTION_DRAWN ? 0 : options->change_rate;
	out->move_rate = options->move_rate == OPTION_DRAWN ? 0 : options->move_rate;
	draw_members(options, &random, out);
}
