/* SPDX-License-Identifier: Apache-2.0 */
/* kvctl ring force: a ring without members that are lost for good, when those that are left are no majority. */
#include "tools/kvctl/kvctl.h"

#include <inttypes.h>
#include <unistd.h>

enum { LOST_MAX = 1024 };

struct force_arguments {
	struct kvctl *kvctl;
	char *lost[LOST_MAX];
	unsigned count;
	bool yes;
};

static error_t parse_arguments(int key, char *arg, struct argp_state *state)
{
	struct force_arguments *arguments = state->input;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = arguments->kvctl;
		return 0;
	case 'y':
		arguments->yes = true;
		return 0;
	case ARGP_KEY_ARG:
		if (arguments->count == LOST_MAX)
			argp_error(state, "at most %d members", LOST_MAX);
		arguments->lost[arguments->count++] = arg;
		return 0;
	case ARGP_KEY_END:
		if (arguments->count == 0)
			argp_error(state, "which members are lost? Give their names");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option options[] = {
	{"yes", 'y', NULL, 0, "Do not ask", 1},
	{0},
};

static const struct argp force_argp = {
	.options = options,
	.parser = parse_arguments,
	.args_doc = "NODE...",
	.doc = "Takes members out of the ring that are lost for good, when those that are left are no majority: then "
	       "nothing can be agreed on, and no other command helps."
	       "\vWhat only the lost members hold is lost with them. Be sure that they do not run, cut off from here: "
	       "they would go on taking writes that nobody else ever sees, and if they change their ring meanwhile, "
	       "the two "
	       "halves never come together again. So stop them first, and run this once, at one node.\n\n"
	       "It is refused while a member that is named is up, or a majority would be left: then `kvctl cluster "
	       "remove` "
	       "and `replace` do it, and lose nothing.\n\n"
	       "Where a key named force lives, `kvctl ring -b default force` shows.\n\n"
	       "Examples:\n"
	       "  kvctl ring force n3 n4 n5",
	.children = kvctl_argp_child,
};

static bool is_confirmed(const struct force_arguments *arguments)
{
	char line[16];
	fputs("What only these members hold will be lost for good:", stderr);
	for (unsigned i = 0; i < arguments->count; i++)
		fprintf(stderr, " %s", arguments->lost[i]);
	fputs("\nDo none of them run any more? [y/N] ", stderr);
	return fgets(line, sizeof line, stdin) != NULL && (line[0] == 'y' || line[0] == 'Y');
}

static int force(struct force_arguments *arguments, uint64_t ring_hash)
{
	struct kvctl *kvctl = arguments->kvctl;
	Kvring__V1__ForceRequest request = KVRING__V1__FORCE_REQUEST__INIT;
	struct kv_client_reply reply;
	int status = KVCTL_DONE;
	request.lost = arguments->lost;
	request.n_lost = arguments->count;
	request.ring_hash = ring_hash;
	if (kv_client_force_ring(kvctl->client, &request, &reply) < 0)
		status = kvctl_fail_call(kvctl, &reply);
	else if (kvctl->json)
		kvctl_print_json(json_pack("{s:I}", "epoch", (json_int_t)reply.init->epoch));
	else
		printf("forced: epoch %" PRIu64 ". `kvctl cluster wait` follows what is copied between the others.\n",
		       reply.init->epoch);
	kv_client_reply_release(&reply);
	return status;
}

int command_ring_force(struct kvctl *kvctl, int argc, char **argv)
{
	struct force_arguments arguments = {.kvctl = kvctl};
	struct kv_client_reply reply;
	argp_parse(&force_argp, argc, argv, 0, NULL, &arguments);
	if (!arguments.yes && (kvctl->json || !isatty(STDIN_FILENO)))
		return kvctl_fail(
			kvctl, KVCTL_USAGE,
			"there is nobody to ask: --yes does it without. `kvctl ring force --help` tells the risk.");
	int status = kvctl_ask_cluster(kvctl, &reply);
	uint64_t ring_hash = status == KVCTL_DONE ? reply.cluster->ring_hash : 0;
	kv_client_reply_release(&reply);
	if (status == KVCTL_DONE && !arguments.yes && !is_confirmed(&arguments))
		status = kvctl_fail(kvctl, KVCTL_REFUSED, "not confirmed: nothing was changed");
	return status == KVCTL_DONE ? force(&arguments, ring_hash) : status;
}
