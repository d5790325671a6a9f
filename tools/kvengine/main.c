/* SPDX-License-Identifier: Apache-2.0 */
/* kvengine: looks into a store offline, and measures the engine alone. */
#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/kvengine/bench.h"
#include "tools/output/output.h"
#include "engine/inspect.h"

const char *argp_program_version = "kvengine " KVRING_VERSION;

/* Of all commands but bench; argp takes only those that the command lists. */
struct store_options {
	const char *directory;
	const char *copy; /* of checkpoint alone */
	bool entries, is_sure, takes_copy;
};

static error_t parse_store(int key, char *arg, struct argp_state *state)
{
	struct store_options *options = state->input;

	switch (key) {
	case 'e':
		options->entries = true;
		return 0;
	case 'y':
		options->is_sure = true;
		return 0;
	case ARGP_KEY_ARG:
		if (options->directory == NULL)
			options->directory = arg;
		else if (options->takes_copy && options->copy == NULL)
			options->copy = arg;
		else
			argp_error(state, options->takes_copy ? "two directories, please" : "one directory, please");
		return 0;
	case ARGP_KEY_END:
		if (options->directory == NULL)
			argp_error(state, "name the directory of a store");
		if (options->takes_copy && options->copy == NULL)
			argp_error(state, "name a new directory for the copy");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* ---- dump, verify, stats -------------------------------------------------------------------------------------- */

static int inspect(const char *directory, enum inspect_what what)
{
	struct inspect_result result;
	struct engine_error why;
	int error = engine_inspect(NULL, directory, what, stdout, &result, &why);

	if (error) {
		fprintf(stderr, "kvengine: %s\n", why.text);
		return 2;
	}
	if (what == INSPECT_VERIFY)
		printf("%llu tables (%llu blocks, %llu entries), %llu logs (%llu batches), %llu bytes read: %llu "
		       "damaged\n",
		       (unsigned long long)result.tables, (unsigned long long)result.blocks,
		       (unsigned long long)result.entries, (unsigned long long)result.logs,
		       (unsigned long long)result.batches, (unsigned long long)result.bytes,
		       (unsigned long long)result.damaged);
	if (result.quarantined)
		printf("%llu partitions are quarantined: `kvengine release` ends that\n",
		       (unsigned long long)result.quarantined);
	return result.damaged || result.quarantined ? 1 : 0;
}

static int main_inspect(int argc, char **argv, const char *doc, enum inspect_what what)
{
	static const struct argp_option none[] = {{0}};
	static const struct argp_option dump[] = {{"entries", 'e', NULL, 0, "every key as well", 0}, {0}};
	struct argp argp = {what == INSPECT_FILES ? dump : none, parse_store, "DIR", doc, NULL, NULL, NULL};
	struct store_options options = {0};

	argp_parse(&argp, argc, argv, 0, NULL, &options);
	return inspect(options.directory, options.entries ? INSPECT_ENTRIES : what);
}

static int main_dump(int argc, char **argv)
{
	return main_inspect(argc, argv, "Prints what is in the files of a store that is not in use.", INSPECT_FILES);
}

static int main_verify(int argc, char **argv)
{
	return main_inspect(argc, argv,
			    "Checks every byte of a store that is not in use. Exit status 0: intact, 1: damaged or "
			    "with quarantined partitions, "
			    "2: cannot read.",
			    INSPECT_VERIFY);
}

static int main_stats(int argc, char **argv)
{
	return main_inspect(argc, argv, "Prints sizes and counts of a store that is not in use.", INSPECT_STATS);
}

static int open_store(const char *directory, struct engine **out)
{
	struct engine_options options;
	struct engine_error why;

	engine_options_default(&options);
	options.directory = directory;
	options.create_if_missing = false;
	int error = engine_open(&options, out, &why);
	if (error < 0)
		fprintf(stderr, "kvengine: %s\n", why.text);
	return error;
}

/* ---- checkpoint ------------------------------------------------------------------------------------------------- */

static int checkpoint_store(const struct store_options *options)
{
	struct engine *engine;
	struct engine_error why = {""};

	if (open_store(options->directory, &engine) < 0)
		return 2;
	int error = engine_checkpoint(engine, options->copy, &why);
	if (error < 0)
		fprintf(stderr, "kvengine: %s\n", why.text);
	int close_error = engine_close(&engine);
	return error < 0 || close_error < 0 ? 2 : 0;
}

static int main_checkpoint(int argc, char **argv)
{
	static const struct argp_option none[] = {{0}};
	static const struct argp argp = {
		none,
		parse_store,
		"DIR COPY",
		"Copies a store that is not in use to COPY, a new directory of the same file system. Files are shared "
		"by "
		"hard links, so the copy takes hardly any time or space. It is for a look, or for a way back from "
		"`kvengine release`: never let two nodes run, one with each.",
		NULL,
		NULL,
		NULL};
	struct store_options options = {.takes_copy = true};

	argp_parse(&argp, argc, argv, 0, NULL, &options);
	return checkpoint_store(&options);
}

/* ---- release --------------------------------------------------------------------------------------------------- */

static struct engine_slice partition_start(uint8_t bytes[2], uint32_t partition)
{
	bytes[0] = (uint8_t)(partition >> 8);
	bytes[1] = (uint8_t)partition;
	/* Behind the last partition lies the end of all keys. */
	return (struct engine_slice){bytes, partition > UINT16_MAX ? 0 : 2};
}

/* Drops a row of neighbours in the shard at once. */
static int release_row(struct shard *shard, uint32_t first, uint32_t step, uint32_t *next_out)
{
	uint8_t begin[2], end[2];
	uint32_t last = first;

	while (last + step <= UINT16_MAX && shard_quarantined(shard, last + 1) == (int32_t)(last + step))
		last += step;
	*next_out = last + 1;
	return shard_drop_range(shard, partition_start(begin, first), partition_start(end, last + 1));
}

/* Reads all tables, so that what is damaged is known. */
static int scrub_shard(struct shard *shard)
{
	struct engine_job *job;
	int error;

	while ((error = shard_scrub(shard, &job)) == 0 && job != NULL) {
		engine_job_run(job);
		error = shard_install(shard, &job);
		if (error)
			break;
	}
	return error;
}

static int release_shard(struct shard *shard, uint32_t index, uint32_t shard_count, bool is_sure)
{
	struct shard_stats stats;
	int error = scrub_shard(shard);
	int32_t at;

	if (error)
		printf("shard %u: %s\n", index, shard_error(shard));
	at = shard_quarantined(shard, 0);
	if (error || at < 0)
		return error;
	shard_stats(shard, &stats);
	printf("shard %u: %u partitions are quarantined, from %d on\n  %s\n", index, stats.quarantined_partitions, at,
	       shard_quarantine_reason(shard));
	if (!is_sure)
		return 0;
	/* What the node keeps there speaks for data that is gone now: without it, it writes under a new name. */
	error = shard_meta_set(shard, "", 0);
	while (error == 0 && at >= 0) {
		uint32_t next = 0;

		error = release_row(shard, (uint32_t)at, shard_count, &next);
		at = shard_quarantined(shard, next);
	}
	printf("  %s\n", error ? shard_error(shard) : "dropped: they are empty now");
	return error;
}

static int release_store(const struct store_options *options)
{
	struct engine *engine;
	bool found = false;
	int error = open_store(options->directory, &engine);

	if (error)
		return 2;
	for (uint32_t i = 0; i < engine_shard_count(engine); i++)
		found |= shard_quarantined(engine_shard(engine, i), 0) >= 0;
	for (uint32_t i = 0; error == 0 && i < engine_shard_count(engine); i++)
		error = release_shard(engine_shard(engine, i), i, engine_shard_count(engine), options->is_sure);
	if (error == 0 && !found)
		printf("No partition is quarantined.\n");
	else if (error == 0 && !options->is_sure)
		printf("Nothing was dropped. With --yes these partitions are dropped.\n");
	if (error == 0)
		error = engine_close(&engine);
	else
		(void)engine_close(&engine);
	return error ? 2 : 0;
}

static int main_release(int argc, char **argv)
{
	static const struct argp_option argp_options[] = {
		{"yes", 'y', NULL, 0, "do it: what is left of them is gone then, here", 0}, {0}};
	static const struct argp argp = {argp_options,
					 parse_store,
					 "DIR",
					 "Reads all of a store that is not in use, lists the partitions that are "
					 "damaged, and with --yes drops them, so that "
					 "they can be read and written again and be filled from their replicas. Until "
					 "reads have filled them, this replica "
					 "answers `absent` there: do it when the other replicas have been up for a "
					 "while, and at one node at a time.",
					 NULL,
					 NULL,
					 NULL};
	struct store_options options = {0};

	argp_parse(&argp, argc, argv, 0, NULL, &options);
	return release_store(&options);
}

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{"dump", main_dump, "print what is in the files"},
	{"verify", main_verify, "check every byte against its checksum"},
	{"stats", main_stats, "print sizes and counts"},
	{"checkpoint", main_checkpoint, "copy the store by hard links"},
	{"release", main_release, "drop quarantined partitions, to be filled from replicas"},
	{"bench", bench_main, "measure the engine alone"},
};

static void print_help(FILE *to)
{
	fprintf(to, "Usage: kvengine COMMAND [OPTION...] DIR\n"
		    "Looks into the store of a stopped node: DIR is `engine` in its data directory.\n\n");
	for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++)
		fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].help);
	fprintf(to, "\nExit status:\n"
		    "  0  done; verify: intact\n"
		    "  1  damaged or quarantined; bench: it failed\n"
		    "  2  wrong usage, the store cannot be read, or the result not be written\n"
		    "\n`kvengine COMMAND --help` explains a command.\n");
}

static int run(int argc, char **argv)
{
	static const char *const HELP[] = {"--help", "-?", "-h", "help"};
	char name[64];

	for (size_t i = 0; argc > 1 && i < sizeof commands / sizeof commands[0]; i++) {
		if (strcmp(argv[1], commands[i].name) == 0) {
			snprintf(name, sizeof name, "kvengine %s", argv[1]);
			argv[1] = name;
			return commands[i].run(argc - 1, argv + 1);
		}
	}
	if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
		puts(argp_program_version);
		return 0;
	}
	for (size_t i = 0; argc > 1 && i < sizeof HELP / sizeof HELP[0]; i++) {
		if (strcmp(argv[1], HELP[i]) == 0) {
			print_help(stdout);
			return 0;
		}
	}
	if (argc > 1)
		fprintf(stderr, "kvengine: there is no command '%s'\n", argv[1]);
	print_help(stderr);
	return 2;
}

int main(int argc, char **argv)
{
	output_open();
	argp_err_exit_status = 2;
	int status = run(argc, argv);
	return output_close("kvengine") ? status : 2;
}
