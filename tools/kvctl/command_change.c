/* SPDX-License-Identifier: Apache-2.0 */
/* kvctl cluster join, leave, replace, weight, remove, drain: each adds to what is staged and asks the cluster for
 * nothing but its members. And what is staged, and forgetting it. */
#include "tools/kvctl/kvctl.h"
#include "tools/kvctl/members.h"
#include "tools/kvctl/staged.h"
#include "tools/kvctl/suggest.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { OPTION_BY = 1000 };

struct change_arguments {
	struct kvctl *kvctl;
	Kvring__V1__ChangeKind kind;
	struct staged_change changes[STAGED_MAX]; /* strings of the command line */
	unsigned count;
	char *by;
	uint32_t weight;
};

#define AFTERWARDS                                                                                                     \
	"\n\nNothing happens yet: `kvctl cluster plan` shows what all staged changes would do together, and "          \
	"`kvctl cluster commit` does it."

/* ---- arguments ------------------------------------------------------------------------------------------------ */

static void take_node(struct change_arguments *arguments, struct argp_state *state, char *node)
{
	if (strchr(node, ':') != NULL)
		argp_error(state, "NODE is the name of a node (its --name), not an address as '%s'", node);
	if (arguments->count == STAGED_MAX)
		argp_error(state, "stages up to %d changes", STAGED_MAX);
	arguments->changes[arguments->count++] = (struct staged_change){.kind = arguments->kind, .node = node};
}

static void finish(struct change_arguments *arguments, struct argp_state *state)
{
	if (arguments->count == 0)
		argp_error(state, "which node? Give its name");
	if (arguments->kind == KVRING__V1__CHANGE_KIND__REPLACE && arguments->by == NULL)
		argp_error(state, "which node takes its place? Give --by NODE");
	if (arguments->kind == KVRING__V1__CHANGE_KIND__REWEIGHT && arguments->weight == 0)
		argp_error(state, "which weight? Give NODE and WEIGHT");
	for (unsigned i = 0; i < arguments->count; i++) {
		arguments->changes[i].replacement = arguments->by;
		arguments->changes[i].weight = arguments->weight;
	}
	if (arguments->by != NULL && !strcmp(arguments->by, arguments->changes[0].node))
		argp_error(state, "a node cannot take its own place: --by names another one");
}

static error_t parse_arguments(int key, char *arg, struct argp_state *state)
{
	struct change_arguments *arguments = state->input;
	bool takes_one = arguments->kind == KVRING__V1__CHANGE_KIND__REPLACE ||
			 arguments->kind == KVRING__V1__CHANGE_KIND__REWEIGHT;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = arguments->kvctl;
		return 0;
	case 'w':
		arguments->weight = kvctl_parse_number(state, "--weight", arg, 1, STAGED_WEIGHT_MAX);
		return 0;
	case OPTION_BY:
		if (strchr(arg, ':') != NULL)
			argp_error(state, "--by is the name of a node (its --name), not an address as '%s'", arg);
		arguments->by = arg;
		return 0;
	case ARGP_KEY_ARG:
		if (arguments->kind == KVRING__V1__CHANGE_KIND__REWEIGHT && state->arg_num == 1)
			arguments->weight = kvctl_parse_number(state, "WEIGHT", arg, 1, STAGED_WEIGHT_MAX);
		else if (takes_one && state->arg_num > 0)
			argp_error(state, "one argument too many: '%s'", arg);
		else
			take_node(arguments, state, arg);
		return 0;
	case ARGP_KEY_END:
		finish(arguments, state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option join_options[] = {
	{"weight", 'w', "WEIGHT", 0, "Its share of the data beside the others' (default: what it was started with)", 1},
	{0},
};
static const struct argp join_argp = {
	.options = join_options,
	.parser = parse_arguments,
	.args_doc = "NODE...",
	.doc = "Stages that nodes join the cluster."
	       "\vA node that joins runs already, in no cluster, with an empty data directory, and with the peer port "
	       "of "
	       "a member as its --seed. NODE is its --name. It takes over its share of the partitions from the "
	       "members, "
	       "while the cluster goes on. A member that is a standby (drained, or left over from a change that was "
	       "aborted) joins again in the same way." AFTERWARDS "\n\n"
	       "Examples:\n"
	       "  kvctl cluster join n4 n5 n6\n"
	       "  kvctl cluster join n7 --weight 200",
	.children = kvctl_argp_child,
};

static const struct argp leave_argp = {
	.parser = parse_arguments,
	.args_doc = "NODE...",
	.doc = "Stages that members hand over what they hold and leave the cluster."
	       "\vThe node keeps serving until the others have its data. Then it is no member any more, says so in its "
	       "log; stop it once `kvctl cluster wait` has ended. One that will never come back is taken out by `kvctl "
	       "cluster replace` or "
	       "`remove`." AFTERWARDS "\n\n"
	       "Examples:\n"
	       "  kvctl cluster leave n2\n"
	       "  kvctl cluster plan",
	.children = kvctl_argp_child,
};

static const struct argp_option replace_options[] = {
	{"by", OPTION_BY, "NODE", 0, "Which node takes its place: it runs, and is in no cluster yet", 1},
	{0},
};
static const struct argp replace_argp = {
	.options = replace_options,
	.parser = parse_arguments,
	.args_doc = "NODE --by NODE",
	.doc = "Stages that a new node takes the place of a member that is down for good."
	       "\vThe new node gets the partitions of the lost one from the other owners; nothing else moves. A member "
	       "that is up is not replaced: let it leave, and the new one join, in one plan." AFTERWARDS "\n\n"
	       "Examples:\n"
	       "  kvctl cluster replace n3 --by n7",
	.children = kvctl_argp_child,
};

static const struct argp weight_argp = {
	.parser = parse_arguments,
	.args_doc = "NODE WEIGHT",
	.doc = "Stages another weight of a member: its share of the data beside the others'."
	       "\vA node of weight 200 holds twice what one of weight 100 does, as far as the number of replicas and "
	       "the "
	       "racks allow." AFTERWARDS "\n\n"
	       "Examples:\n"
	       "  kvctl cluster weight n2 150",
	.children = kvctl_argp_child,
};

static const struct argp remove_argp = {
	.parser = parse_arguments,
	.args_doc = "NODE...",
	.doc = "Stages that members that are down for good are taken out, without another in their place."
	       "\vThe other members take over its partitions from the owners that are left. A member that is up is not "
	       "removed: `kvctl cluster leave` lets it hand over its data." AFTERWARDS "\n\n"
	       "Examples:\n"
	       "  kvctl cluster remove n3",
	.children = kvctl_argp_child,
};

static const struct argp drain_argp = {
	.parser = parse_arguments,
	.args_doc = "NODE...",
	.doc = "Stages that members hand over what they hold, and stay members without data."
	       "\vSuch a member is a standby: it answers clients, whose requests it forwards, and takes part in votes. "
	       "`kvctl cluster join` gives it partitions again." AFTERWARDS "\n\n"
	       "Examples:\n"
	       "  kvctl cluster drain n2",
	.children = kvctl_argp_child,
};

/* ---- staging -------------------------------------------------------------------------------------------------- */

static const Kvring__V1__NodeStatus *find(const Kvring__V1__StatusResponse *status, const char *name)
{
	for (size_t i = 0; i < status->n_members; i++)
		if (!strcmp(status->members[i]->name, name))
			return status->members[i];
	return NULL;
}

static int no_member(const struct kvctl *kvctl, const Kvring__V1__StatusResponse *status, const char *node)
{
	const char **names = calloc(status->n_members + 1, sizeof *names);
	if (names == NULL)
		abort();
	for (size_t i = 0; i < status->n_members; i++)
		names[i] = status->members[i]->name;
	const char *meant = suggest_word(node, names);
	free(names);
	if (meant != NULL)
		return kvctl_fail(kvctl, KVCTL_USAGE, "no member is named '%s'. Did you mean '%s'?", node, meant);
	return kvctl_fail(kvctl, KVCTL_USAGE, "no member is named '%s'; `kvctl status` lists them", node);
}

/* What can be told before there is a plan. Nothing else: a change may make sense only together with those to come. */
static int check(const struct change_arguments *arguments, const Kvring__V1__StatusResponse *status)
{
	const struct kvctl *kvctl = arguments->kvctl;
	for (unsigned i = 0; i < arguments->count; i++) {
		const char *node = arguments->changes[i].node;
		const Kvring__V1__NodeStatus *member = find(status, node);
		if (arguments->kind != KVRING__V1__CHANGE_KIND__JOIN && member == NULL)
			return no_member(kvctl, status, node);
		if (arguments->kind == KVRING__V1__CHANGE_KIND__JOIN && member != NULL &&
		    strcmp(member->member_state, "standby"))
			return kvctl_fail(
				kvctl, KVCTL_USAGE,
				"%s is a member already. To change its share: `kvctl cluster weight %s WEIGHT`", node,
				node);
	}
	return KVCTL_DONE;
}

static void print_staged(const struct kvctl *kvctl, const struct staged *staged)
{
	if (kvctl->json) {
		kvctl_print_json(json_pack("{s:o, s:o}", "cluster_id", members_id_json(staged->cluster_id), "changes",
					   staged_json(staged)));
		return;
	}
	for (unsigned i = 0; i < staged->count; i++) {
		staged_say(&staged->changes[i], stdout);
		putchar('\n');
	}
	if (staged->count == 0)
		puts("Nothing is staged.");
	else
		printf("%u %s staged. `kvctl cluster plan` shows what %s would do.\n", staged->count,
		       staged->count == 1 ? "change is" : "changes are", staged->count == 1 ? "it" : "they");
}

static int stage(const struct change_arguments *arguments, uint64_t cluster_id)
{
	struct rpc_error error;
	struct staged *staged = calloc(1, sizeof *staged);
	if (staged == NULL)
		abort();
	int status = KVCTL_DONE;
	if (staged_add(cluster_id, arguments->changes, arguments->count, staged, &error) < 0)
		status = kvctl_fail(arguments->kvctl, KVCTL_OUTPUT, "%s", error.text);
	else
		print_staged(arguments->kvctl, staged);
	staged_fini(staged);
	free(staged);
	return status;
}

static int run(struct kvctl *kvctl, Kvring__V1__ChangeKind kind, const struct argp *argp, int argc, char **argv)
{
	struct change_arguments *arguments = calloc(1, sizeof *arguments);
	struct kv_client_reply reply;
	if (arguments == NULL)
		abort();
	arguments->kvctl = kvctl;
	arguments->kind = kind;
	argp_parse(argp, argc, argv, 0, NULL, arguments);
	int status = kvctl_ask_cluster(kvctl, &reply);
	if (status == KVCTL_DONE)
		status = check(arguments, reply.cluster);
	if (status == KVCTL_DONE)
		status = stage(arguments, reply.cluster->cluster_id);
	kv_client_reply_release(&reply);
	free(arguments);
	return status;
}

int command_cluster_join(struct kvctl *kvctl, int argc, char **argv)
{
	return run(kvctl, KVRING__V1__CHANGE_KIND__JOIN, &join_argp, argc, argv);
}

int command_cluster_leave(struct kvctl *kvctl, int argc, char **argv)
{
	return run(kvctl, KVRING__V1__CHANGE_KIND__LEAVE, &leave_argp, argc, argv);
}

int command_cluster_replace(struct kvctl *kvctl, int argc, char **argv)
{
	return run(kvctl, KVRING__V1__CHANGE_KIND__REPLACE, &replace_argp, argc, argv);
}

int command_cluster_weight(struct kvctl *kvctl, int argc, char **argv)
{
	return run(kvctl, KVRING__V1__CHANGE_KIND__REWEIGHT, &weight_argp, argc, argv);
}

int command_cluster_remove(struct kvctl *kvctl, int argc, char **argv)
{
	return run(kvctl, KVRING__V1__CHANGE_KIND__REMOVE, &remove_argp, argc, argv);
}

int command_cluster_drain(struct kvctl *kvctl, int argc, char **argv)
{
	return run(kvctl, KVRING__V1__CHANGE_KIND__DRAIN, &drain_argp, argc, argv);
}

/* ---- what is staged ------------------------------------------------------------------------------------------- */

static const struct argp changes_argp = {
	.parser = kvctl_parse_nothing,
	.doc = "Shows the changes that are staged and not committed yet."
	       "\vThey are in a file of yours, $XDG_STATE_HOME/kvctl/CLUSTERID.json (~/.local/state without that "
	       "variable). Of a node the change that was staged last counts.\n\n"
	       "Examples:\n"
	       "  kvctl cluster changes",
	.children = kvctl_argp_child,
};

static const struct argp clear_argp = {
	.parser = kvctl_parse_nothing,
	.doc = "Forgets the changes that are staged."
	       "\vA change that was committed is not stopped by this: `kvctl cluster abort` does that.\n\n"
	       "Examples:\n"
	       "  kvctl cluster clear",
	.children = kvctl_argp_child,
};

static int show_changes(const struct kvctl *kvctl, uint64_t cluster_id)
{
	struct rpc_error error;
	struct staged *staged = calloc(1, sizeof *staged);
	if (staged == NULL)
		abort();
	int status = KVCTL_DONE;
	if (staged_load(cluster_id, staged, &error) < 0)
		status = kvctl_fail(kvctl, KVCTL_USAGE, "%s", error.text);
	else
		print_staged(kvctl, staged);
	staged_fini(staged);
	free(staged);
	return status;
}

static int clear(const struct kvctl *kvctl, uint64_t cluster_id)
{
	struct rpc_error error;
	if (staged_clear(cluster_id, &error) < 0)
		return kvctl_fail(kvctl, KVCTL_OUTPUT, "%s", error.text);
	print_staged(kvctl, &(struct staged){.cluster_id = cluster_id});
	return KVCTL_DONE;
}

static int with_cluster(struct kvctl *kvctl, int (*what)(const struct kvctl *, uint64_t cluster_id))
{
	struct kv_client_reply reply;
	int status = kvctl_ask_cluster(kvctl, &reply);
	if (status == KVCTL_DONE)
		status = what(kvctl, reply.cluster->cluster_id);
	kv_client_reply_release(&reply);
	return status;
}

int command_cluster_changes(struct kvctl *kvctl, int argc, char **argv)
{
	argp_parse(&changes_argp, argc, argv, 0, NULL, kvctl);
	return with_cluster(kvctl, show_changes);
}

int command_cluster_clear(struct kvctl *kvctl, int argc, char **argv)
{
	argp_parse(&clear_argp, argc, argv, 0, NULL, kvctl);
	return with_cluster(kvctl, clear);
}
