/* kvengine: looks into a store offline, and measures the engine alone. */
#include <argp.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "inspect.h"

const char *argp_program_version = "kvengine 0.1";

/* ---- dump, verify, stats -------------------------------------------------------------------------------------- */

struct inspect_options {
	const char *directory;
	bool entries;
};

static error_t parse_inspect(int key, char *arg, struct argp_state *state)
{
	struct inspect_options *options = state->input;

	switch (key) {
	case 'e':
		options->entries = true;
		return 0;
	case ARGP_KEY_ARG:
		if (options->directory)
			argp_error(state, "one directory, please");
		options->directory = arg;
		return 0;
	case ARGP_KEY_END:
		if (!options->directory)
			argp_error(state, "name the directory of a store");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static int inspect(const char *directory, enum inspect_what what)
{
	struct inspect_result result;
	struct engine_error error;
	int rc = engine_inspect(NULL, directory, what, stdout, &result, &error);

	if (rc) {
		fprintf(stderr, "kvengine: %s\n", error.text);
		return 2;
	}
	if (what == INSPECT_VERIFY)
		printf("%llu tables (%llu blocks, %llu entries), %llu logs (%llu batches), %llu bytes read: %llu "
		       "damaged\n",
		       (unsigned long long)result.tables, (unsigned long long)result.blocks,
		       (unsigned long long)result.entries, (unsigned long long)result.logs,
		       (unsigned long long)result.batches, (unsigned long long)result.bytes,
		       (unsigned long long)result.damaged);
	return result.damaged ? 1 : 0;
}

static int main_inspect(int argc, char **argv, const char *doc, enum inspect_what what)
{
	static const struct argp_option none[] = {{0}};
	static const struct argp_option dump[] = {{"entries", 'e', NULL, 0, "every key as well", 0}, {0}};
	struct argp argp = {what == INSPECT_FILES ? dump : none, parse_inspect, "DIR", doc, NULL, NULL, NULL};
	struct inspect_options options = {0};

	argp_parse(&argp, argc, argv, 0, NULL, &options);
	return inspect(options.directory, options.entries ? INSPECT_ENTRIES : what);
}

static int main_dump(int argc, char **argv)
{
	return main_inspect(argc, argv, "Prints what is in the files of a store that is not in use.", INSPECT_FILES);
}

static int main_verify(int argc, char **argv)
{
	return main_inspect(
		argc, argv,
		"Checks every byte of a store that is not in use. Exit status 0: intact, 1: damaged, 2: cannot read.",
		INSPECT_VERIFY);
}

static int main_stats(int argc, char **argv)
{
	return main_inspect(argc, argv, "Prints sizes and counts of a store that is not in use.", INSPECT_STATS);
}

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{"dump", main_dump, "print what is in the files"},
	{"verify", main_verify, "check every byte against its checksum"},
	{"stats", main_stats, "print sizes and counts"},
	{"bench", bench_main, "measure the engine alone"},
};

int main(int argc, char **argv)
{
	char name[64];

	argp_err_exit_status = 2;
	for (size_t i = 0; argc > 1 && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name) == 0) {
			snprintf(name, sizeof(name), "kvengine %s", argv[1]);
			argv[1] = name;
			return commands[i].run(argc - 1, argv + 1);
		}
	}
	bool asked = argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-?") == 0);
	FILE *to = asked ? stdout : stderr;

	if (argc > 1 && !asked)
		fprintf(to, "kvengine: there is no command '%s'\n", argv[1]);
	fprintf(to, "Usage: kvengine COMMAND [OPTION...] DIR\n"
		    "Looks into the store of a stopped node: DIR is `engine` in its data directory.\n\n");
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		fprintf(to, "  %-8s %s\n", commands[i].name, commands[i].help);
	fprintf(to, "\n`kvengine COMMAND --help` explains a command.\n");
	return asked ? 0 : 2;
}
