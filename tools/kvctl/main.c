/* SPDX-License-Identifier: Apache-2.0 */
/* kvctl: puts, gets, imports and looks after a kvring cluster. Finds the command and runs it. */
#include "tools/kvctl/kvctl.h"
#include "tools/kvctl/suggest.h"
#include "tools/output/output.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const struct kvctl_command COMMANDS[] = {
	{"put", "store a value: from the command line, a file or stdin", command_put},
	{"get", "print a value, or all concurrent ones with their context", command_get},
	{"del", "delete a key", command_del},
	{"import", "store many records: JSON lines or Debian stanzas; resumable", command_import},
	{"export", "fetch the keys of a list into a file; resumable", command_export},
	{"compare", "read every record of an import back and compare bytes", command_compare},
	{"cluster init", "make a cluster of nodes that are in none yet", command_cluster_init},
	{"cluster rack", "say in which rack a member stands; a majority agrees", command_cluster_rack},
	{"cluster join", "stage: nodes take over their share of the data", command_cluster_join},
	{"cluster leave", "stage: members hand over their data and go", command_cluster_leave},
	{"cluster replace", "stage: a new node for a member that is lost", command_cluster_replace},
	{"cluster weight", "stage: another share of the data for a member", command_cluster_weight},
	{"cluster remove", "stage: take out a member that is lost", command_cluster_remove},
	{"cluster drain", "stage: members hand over their data and stay", command_cluster_drain},
	{"cluster changes", "what is staged", command_cluster_changes},
	{"cluster clear", "forget what is staged", command_cluster_clear},
	{"cluster plan", "what the staged changes would move, and where", command_cluster_plan},
	{"cluster commit", "make the staged changes, under load", command_cluster_commit},
	{"cluster abort", "take a change back while data is copied", command_cluster_abort},
	{"cluster wait", "until a change of the ring is over", command_cluster_wait},
	{"status", "every member: state, load, epoch, keys, bytes", command_status},
	{"members", "who hears whom, and who is down by whose word", command_members},
	{"ring force", "last resort: a majority is lost for good", command_ring_force},
	{"ring", "who owns what and how even; of a key: where it lives", command_ring},
};
enum {
	COMMAND_COUNT = sizeof COMMANDS / sizeof *COMMANDS,
	NAME_SIZE = 64,
	HELP_FLAGS = ARGP_HELP_SHORT_USAGE | ARGP_HELP_LONG | ARGP_HELP_DOC,
};

const char *argp_program_version = "kvctl " KVRING_VERSION;

struct words {
	struct kvctl *kvctl;
	int first; /* index in argv of the command's first word; 0: none was given */
};

/* Stops at the first word that is no option: the rest belongs to the command. */
static error_t parse_main(int key, char *arg, struct argp_state *state)
{
	struct words *words = state->input;
	(void)arg;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = words->kvctl;
		return 0;
	case ARGP_KEY_ARG:
		words->first = state->next - 1;
		state->next = state->argc;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const char EXIT_HELP[] = "\nExit status:\n"
				"  0  done\n"
				"  1  not found; compare: something differs; export: keys are missing\n"
				"  2  wrong usage or input; an import has stored the records before it\n"
				"  3  refused by the cluster, which says why; import: records were skipped\n"
				"  4  in doubt: the write may or may not have taken effect\n"
				"  5  no usable answer from any node; status --wait-up, cluster wait: waited\n"
				"     in vain\n"
				"  6  the result could not be written; the command may have been done\n"
				"\n`kvctl COMMAND --help` explains a command, with examples.";

static char *help_filter(int key, const char *text, void *input)
{
	(void)input;
	if (key != ARGP_KEY_HELP_POST_DOC)
		return (char *)text;
	char *help = NULL;
	size_t size;
	FILE *file = open_memstream(&help, &size);
	if (file == NULL)
		return NULL;
	fputs("Commands:\n", file);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(file, "  %-15s %s\n", COMMANDS[i].name, COMMANDS[i].summary);
	fputs(EXIT_HELP, file);
	fclose(file);
	return help;
}

static const struct argp main_argp = {
	.parser = parse_main,
	.args_doc = "COMMAND [ARGUMENT...]",
	.doc = "Works with a kvring cluster: a replicated key-value store of which any node answers any request.\v ",
	.children = kvctl_argp_child,
	.help_filter = help_filter,
};

/* Number of words of `name` that argv starts with, when all of them match. */
static int match(const char *name, int argc, char **argv)
{
	int count = 0;
	for (;;) {
		size_t size = strcspn(name, " ");
		if (count == argc || strlen(argv[count]) != size || strncmp(argv[count], name, size))
			return 0;
		count++;
		if (!name[size])
			return count;
		name += size + 1;
	}
}

/* What other tools call our commands. */
static const char *translate(const char *word)
{
	static const char *const WORDS[][2] = {
		{"set", "put"},
		{"store", "put"},
		{"write", "put"},
		{"read", "get"},
		{"delete", "del"},
		{"rm", "del"},
		{"remove", "del"},
		{"info", "status"},
		{"nodes", "members"},
		{"init", "cluster init"},
		{"load", "import"},
		{"dump", "export"},
		{"keys", "export"},
		{"scan", "export"},
		{"ls", "export"},
		{"list", "export"},
		{"where", "ring"},
		{"owners", "ring"},
		{"version", "--version"},
		{"join", "cluster join"},
		{"leave", "cluster leave"},
		{"decommission", "cluster leave"},
		{"replace", "cluster replace"},
		{"drain", "cluster drain"},
		{"rebalance", "cluster plan"},
		{"plan", "cluster plan"},
		{"commit", "cluster commit"},
	};
	for (size_t i = 0; i < sizeof WORDS / sizeof *WORDS; i++)
		if (!strcmp(WORDS[i][0], word))
			return WORDS[i][1];
	return NULL;
}

static int unknown_command(struct kvctl *kvctl, int argc, char **argv)
{
	char typed[NAME_SIZE];
	const char *names[COMMAND_COUNT + 1] = {0};
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		names[i] = COMMANDS[i].name;
	snprintf(typed, sizeof typed, "%s %s", argv[0], argc > 1 ? argv[1] : "");
	const char *meant = translate(argv[0]);
	if (meant == NULL)
		meant = suggest_word(argv[0], names);
	if (meant == NULL)
		meant = suggest_word(typed, names);
	if (meant == NULL && !strcmp(argv[0], "cluster"))
		meant = "cluster init";
	const char *shown = !strcmp(argv[0], "cluster") && argc > 1 ? typed : argv[0];
	if (meant != NULL)
		return kvctl_fail(kvctl, KVCTL_USAGE, "there is no command '%s'. Did you mean '%s'?", shown, meant);
	return kvctl_fail(kvctl, KVCTL_USAGE, "there is no command '%s'. `kvctl --help` lists them.", shown);
}

static int run_command(struct kvctl *kvctl, int argc, char **argv)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		int word_count = match(COMMANDS[i].name, argc, argv);
		if (!word_count)
			continue;
		char name[NAME_SIZE];
		snprintf(name, sizeof name, "kvctl %s", COMMANDS[i].name);
		kvctl->command = name;
		argv[word_count - 1] = name;
		return COMMANDS[i].run(kvctl, argc - word_count + 1, argv + word_count - 1);
	}
	return unknown_command(kvctl, argc, argv);
}

/* `kvctl help COMMAND` is `kvctl COMMAND --help`. */
static int help(struct kvctl *kvctl, int argc, char **argv)
{
	if (argc == 1) {
		argp_help(&main_argp, stdout, HELP_FLAGS, "kvctl");
		return KVCTL_DONE;
	}
	char *words[] = {argv[1], argc > 2 ? argv[2] : "--help", "--help", NULL};
	return run_command(kvctl, argc > 2 ? 3 : 2, words);
}

int main(int argc, char **argv)
{
	output_open();
	struct kvctl kvctl = {.command = "kvctl", .endpoints = getenv("KVRING_ENDPOINTS"), .timeout_ms = 5000};
	struct words words = {.kvctl = &kvctl};
	argp_err_exit_status = KVCTL_USAGE;
	argp_parse(&main_argp, argc, argv, ARGP_IN_ORDER, NULL, &words);
	int status = KVCTL_USAGE;
	if (!words.first)
		argp_help(&main_argp, stderr, HELP_FLAGS, "kvctl");
	else if (!strcmp(argv[words.first], "help"))
		status = help(&kvctl, argc - words.first, argv + words.first);
	else
		status = run_command(&kvctl, argc - words.first, argv + words.first);
	if (kvctl.client != NULL)
		kv_client_close(&kvctl.client);
	bool written = status == KVCTL_OUTPUT || output_close("kvctl");
	return !written && status <= KVCTL_NOT_FOUND ? KVCTL_OUTPUT : status;
}
