/* SPDX-License-Identifier: Apache-2.0 */
/* kvctl import, compare, export. */
#include "tools/kvctl/compare.h"
#include "tools/kvctl/export.h"
#include "tools/kvctl/import.h"

#include <string.h>

enum {
	OPTION_W = 3000,
	OPTION_R,
	OPTION_BLIND,
	OPTION_KEEP_GOING,
	OPTION_VERIFY,
	OPTION_SAMPLE,
	OPTION_AS,
	OPTION_OUT
};

static struct argp make_argp(const struct argp_option *options, argp_parser_t parser, const char *doc)
{
	return (struct argp){options, parser, "FILE", doc, transfer_argp_child, NULL, NULL};
}

/* ---- import --------------------------------------------------------------------------------------------------- */

struct import_arguments {
	struct import_options import;
	bool verify;
};

static error_t parse_import(int key, char *arg, struct argp_state *state)
{
	struct import_arguments *arguments = state->input;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &arguments->import.transfer;
		return 0;
	case OPTION_W:
		arguments->import.w = kvctl_parse_replicas(state, "--w", arg);
		return 0;
	case OPTION_BLIND:
		arguments->import.blind = true;
		return 0;
	case OPTION_KEEP_GOING:
		arguments->import.keep_going = true;
		return 0;
	case OPTION_VERIFY:
		arguments->verify = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option import_argp_options[] = {
	{"w", OPTION_W, "COUNT|LEVEL", 0,
	 "Replicas that must have each record on stable storage (default: the cluster's)", 1},
	{"blind", OPTION_BLIND, NULL, 0,
	 "The keys are new: do not read what is there first. Half the work; a value that is there stays beside the new "
	 "one",
	 1},
	{"keep-going", OPTION_KEEP_GOING, NULL, 0,
	 "Skip records that cannot be read or that the cluster refuses, and count them", 1},
	{"verify", OPTION_VERIFY, NULL, 0, "Then read everything back and compare, as `kvctl compare` does", 1},
	{0},
};

int command_import(struct kvctl *kvctl, int argc, char **argv)
{
	struct import_arguments arguments = {0};
	struct argp argp = make_argp(
		import_argp_options, parse_import,
		"Stores every record of FILE (- is stdin), replacing what is there. A record counts when the cluster "
		"has "
		"acknowledged it; what is in doubt is repeated with the same operation id, so that nothing applies "
		"twice."
		"\vForms of FILE:\n"
		"  jsonl   {\"key\": \"k\", \"value\": \"v\"} per line; key_b64 and value_b64 for what is no text\n"
		"  debian  stanzas as `apt-cache dumpavail` prints them; key = package name, value = stanza\n"
		"A key that comes again later in FILE replaces its earlier record.\n\n"
		"Examples:\n"
		"  kvctl import --state import.state users.jsonl\n"
		"  apt-cache dumpavail | kvctl import --format debian -\n"
		"  kvctl import --format debian --verify available.txt");
	transfer_options_init(&arguments.import.transfer, kvctl);
	arguments.import.transfer.requires_values = true;
	argp_parse(&argp, argc, argv, 0, NULL, &arguments);
	if (arguments.verify && !strcmp(arguments.import.transfer.path, "-"))
		return kvctl_fail(kvctl, KVCTL_USAGE, "--verify needs a FILE: it is read twice, stdin cannot be");
	int status = import_input(&arguments.import);
	if (status != KVCTL_DONE || !arguments.verify)
		return status;
	struct compare_options compare = {.transfer = arguments.import.transfer, .sample = 1};
	compare.transfer.requires_values = false;
	compare.transfer.state_path = NULL;
	return compare_input(&compare);
}

/* ---- compare -------------------------------------------------------------------------------------------------- */

static error_t parse_compare(int key, char *arg, struct argp_state *state)
{
	struct compare_options *arguments = state->input;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &arguments->transfer;
		return 0;
	case OPTION_R:
		arguments->r = kvctl_parse_replicas(state, "--r", arg);
		return 0;
	case OPTION_SAMPLE:
		arguments->sample = kvctl_parse_number(state, "--sample", arg, 1, UINT32_MAX);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option compare_argp_options[] = {
	{"r", OPTION_R, "COUNT|LEVEL", 0, "Replicas that must answer for each key (default: the cluster's)", 1},
	{"sample", OPTION_SAMPLE, "N", 0, "Only every N-th record", 1},
	{0},
};

int command_compare(struct kvctl *kvctl, int argc, char **argv)
{
	struct compare_options arguments = {.sample = 1};
	struct argp argp = make_argp(
		compare_argp_options, parse_compare,
		"Reads the key of every record of FILE, the input of an import, and compares its value with what is "
		"stored, byte "
		"by byte. Exit status 0: all equal; 1: something differs, is missing or has concurrent values."
		"\vExamples:\n"
		"  kvctl compare --format debian available.txt\n"
		"  kvctl compare --r 3 --sample 100 users.jsonl");
	transfer_options_init(&arguments.transfer, kvctl);
	argp_parse(&argp, argc, argv, 0, NULL, &arguments);
	return compare_input(&arguments);
}

/* ---- export --------------------------------------------------------------------------------------------------- */

static error_t parse_export(int key, char *arg, struct argp_state *state)
{
	struct export_options *arguments = state->input;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &arguments->transfer;
		return 0;
	case OPTION_R:
		arguments->r = kvctl_parse_replicas(state, "--r", arg);
		return 0;
	case OPTION_AS:
		if (!records_parse_format(arg, &arguments->as) || arguments->as == RECORD_KEYS)
			argp_error(state, "--as is jsonl or debian, not '%s'", arg);
		return 0;
	case OPTION_OUT:
		arguments->out_path = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option export_argp_options[] = {
	{"r", OPTION_R, "COUNT|LEVEL", 0, "Replicas that must answer for each key (default: the cluster's)", 1},
	{"as", OPTION_AS, "jsonl|debian", 0, "Form of the output (default: jsonl)", 1},
	{"out", OPTION_OUT, "OUT", 0, "Write to this file (default: stdout)", 1},
	{0},
};

int command_export(struct kvctl *kvctl, int argc, char **argv)
{
	struct export_options arguments = {.as = RECORD_JSON_LINES};
	struct argp argp = make_argp(
		export_argp_options, parse_export,
		"Fetches the keys listed in FILE (- is stdin) and writes their records. The store has no scan over all "
		"keys for "
		"clients: the list comes from you, one key per line (--format keys, the default here), or from the "
		"input of the "
		"import (--format jsonl or debian)."
		"\vA key with concurrent values becomes {\"key\": ..., \"siblings\": [...], \"context\": ...} in JSON "
		"lines, which import "
		"does not take: resolve it first. Keys that are not found are counted, and make the exit status 1.\n\n"
		"Examples:\n"
		"  kvctl export keys.txt > users.jsonl\n"
		"  kvctl export --format debian --as debian --out copy.txt available.txt\n"
		"  kvctl export --state export.state --out users.jsonl keys.txt");
	transfer_options_init(&arguments.transfer, kvctl);
	arguments.transfer.format = RECORD_KEYS;
	argp_parse(&argp, argc, argv, 0, NULL, &arguments);
	return export_keys(&arguments);
}
