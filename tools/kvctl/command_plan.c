/* SPDX-License-Identifier: Apache-2.0 */
/* kvctl cluster plan and commit: what the staged changes would do, and doing it. */
#include "tools/kvctl/kvctl.h"
#include "tools/kvctl/follow.h"
#include "tools/kvctl/members.h"
#include "tools/kvctl/plan.h"
#include "tools/kvctl/staged.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OPTION_ALLOW = 1000, OPTION_WAIT };

struct plan_arguments {
	struct kvctl *kvctl;
	bool yes, wait, allow;
};

/* The staged changes as the cluster takes them. The strings are those of staged. */
struct request {
	Kvring__V1__ChangeRequest body;
	Kvring__V1__MemberChange changes[STAGED_MAX], *pointers[STAGED_MAX];
};

/* What both commands work on. */
struct work {
	struct staged staged;
	struct request request;
	struct kv_client_reply reply; /* the plan */
};

static error_t parse_arguments(int key, char *arg, struct argp_state *state)
{
	struct plan_arguments *arguments = state->input;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = arguments->kvctl;
		return 0;
	case 'y':
		arguments->yes = true;
		return 0;
	case OPTION_WAIT:
		arguments->wait = true;
		return 0;
	case OPTION_ALLOW:
		arguments->allow = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "takes no argument, not '%s'. `kvctl cluster join NODE` stages a change.", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp plan_argp = {
	.parser = parse_arguments,
	.doc = "Shows what the staged changes would do together. Changes nothing."
	       "\vOf each member: STATE, WEIGHT, how many PARTITIONS it holds a replica of and how many of those as "
	       "the "
	       "FIRST of their owners, before -> after. Then who hands over how much to whom, and about how long that "
	       "takes. Lines with ! say which rule of placement cannot be met; where the ring in force meets it, "
	       "`kvctl cluster "
	       "commit` needs --allow.\n\n"
	       "Examples:\n"
	       "  kvctl cluster join n4 n5\n"
	       "  kvctl cluster plan",
	.children = kvctl_argp_child,
};

static const struct argp_option commit_options[] = {
	{"yes", 'y', NULL, 0, "Do not ask; if `plan` has shown a plan, make just that one", 1},
	{"wait", OPTION_WAIT, NULL, 0, "Wait until the change is over, as `kvctl cluster wait` does", 1},
	{"allow", OPTION_ALLOW, NULL, 0, "Although rules of placement cannot be met", 1},
	{0},
};

static const struct argp commit_argp = {
	.options = commit_options,
	.parser = parse_arguments,
	.doc = "Makes the staged changes: shows the plan, asks, and begins. The cluster serves all the while."
	       "\vA majority of the members has to agree; then partitions are copied to their new owners, reads go "
	       "over to "
	       "them, and what was moved away is dropped. `kvctl cluster abort` takes it back while data is copied.\n\n"
	       "With --yes it does not ask. If `kvctl cluster plan` has shown a plan and the ring has changed since, "
	       "it is "
	       "refused then: plan again.\n\n"
	       "When nobody answers in time the exit status is 4: it may have begun. `kvctl status` shows whether; "
	       "repeating the commit cannot make it twice.\n\n"
	       "Examples:\n"
	       "  kvctl cluster commit\n"
	       "  kvctl cluster commit --yes --wait",
	.children = kvctl_argp_child,
};

/* ---- the plan ------------------------------------------------------------------------------------------------- */

static void make_request(const struct staged *staged, struct request *out)
{
	kvring__v1__change_request__init(&out->body);
	for (unsigned i = 0; i < staged->count; i++) {
		const struct staged_change *change = &staged->changes[i];
		kvring__v1__member_change__init(&out->changes[i]);
		out->changes[i].kind = change->kind;
		out->changes[i].node = change->node;
		if (change->replacement != NULL)
			out->changes[i].replacement = change->replacement;
		out->changes[i].weight = change->weight;
		out->pointers[i] = &out->changes[i];
	}
	out->body.changes = out->pointers;
	out->body.n_changes = staged->count;
}

/* Loads what is staged in the cluster that is asked, and asks it what that would do. */
static int make_plan(struct kvctl *kvctl, struct work *work)
{
	struct rpc_error error;
	struct kv_client_reply status_reply;
	int status = kvctl_ask_cluster(kvctl, &status_reply);
	uint64_t cluster_id = status == KVCTL_DONE ? status_reply.cluster->cluster_id : 0;
	kv_client_reply_release(&status_reply);
	if (status != KVCTL_DONE)
		return status;
	if (staged_load(cluster_id, &work->staged, &error) < 0)
		return kvctl_fail(kvctl, KVCTL_USAGE, "%s", error.text);
	if (work->staged.count == 0)
		return kvctl_fail(
			kvctl, KVCTL_USAGE,
			"nothing is staged. `kvctl cluster join NODE`, leave, replace, weight, remove and drain "
			"stage changes.");
	make_request(&work->staged, &work->request);
	if (kv_client_plan_change(kvctl->client, &work->request.body, &work->reply) < 0)
		return kvctl_fail_call(kvctl, &work->reply);
	return KVCTL_DONE;
}

static struct work *create(void)
{
	struct work *self = calloc(1, sizeof *self);
	if (self == NULL)
		abort();
	return self;
}

static void destroy(struct work *self)
{
	kv_client_reply_release(&self->reply);
	staged_fini(&self->staged);
	free(self);
}

static int show_plan(const struct kvctl *kvctl, struct work *work)
{
	struct rpc_error error;
	const Kvring__V1__ChangePlan *plan = work->reply.plan;
	work->staged.planned = true;
	work->staged.parent_hash = plan->parent_hash;
	work->staged.plan_hash = plan->plan_hash;
	if (staged_save(&work->staged, &error) < 0)
		return kvctl_fail(kvctl, KVCTL_OUTPUT, "%s", error.text);
	if (kvctl->json) {
		kvctl_print_json(plan_json(plan, &work->staged));
		return KVCTL_DONE;
	}
	plan_print(plan, &work->staged, stdout);
	puts("\n`kvctl cluster commit` makes it so.");
	return KVCTL_DONE;
}

int command_cluster_plan(struct kvctl *kvctl, int argc, char **argv)
{
	struct plan_arguments arguments = {.kvctl = kvctl};
	argp_parse(&plan_argp, argc, argv, 0, NULL, &arguments);
	struct work *work = create();
	int status = make_plan(kvctl, work);
	if (status == KVCTL_DONE)
		status = show_plan(kvctl, work);
	destroy(work);
	return status;
}

/* ---- commit --------------------------------------------------------------------------------------------------- */

static bool has_moved_on(const struct work *work)
{
	return work->staged.planned && (work->staged.parent_hash != work->reply.plan->parent_hash ||
					work->staged.plan_hash != work->reply.plan->plan_hash);
}

static bool confirmed(void)
{
	char line[16];
	fputs("\nMake these changes? [y/N] ", stderr);
	return fgets(line, sizeof line, stdin) != NULL && (line[0] == 'y' || line[0] == 'Y');
}

/* Whether the plan may be made: what was shown before, and a person's word. Which rules it may break the cluster says. */
static int may_commit(const struct plan_arguments *arguments, const struct work *work)
{
	const struct kvctl *kvctl = arguments->kvctl;
	if (arguments->yes && has_moved_on(work))
		return kvctl_fail(kvctl, KVCTL_REFUSED,
				  "the ring changed since the plan was shown: plan again (`kvctl cluster plan`)");
	if (arguments->yes)
		return KVCTL_DONE;
	if (has_moved_on(work))
		fputs("\nThe ring changed since `kvctl cluster plan` showed it; the plan above is new.\n", stderr);
	if (!confirmed())
		return kvctl_fail(kvctl, KVCTL_REFUSED, "not confirmed: nothing was changed");
	return KVCTL_DONE;
}

/* Its members have become what was planned, and not what an abort leaves. */
static bool has_come_about(const Kvring__V1__ChangePlan *plan, const Kvring__V1__StatusResponse *status)
{
	for (size_t i = 0; i < plan->n_members; i++) {
		const char *is = "";
		for (size_t k = 0; k < status->n_members; k++)
			if (status->members[k]->node_id == plan->members[i]->node_id)
				is = status->members[k]->member_state;
		if (!strcmp(plan->members[i]->state_after, "active") != !strcmp(is, "active"))
			return false;
	}
	return true;
}

static int wait_for_end(const struct kvctl *kvctl, const struct work *work, uint64_t epoch, uint64_t *epoch_out)
{
	struct kv_client_reply reply;
	int status = follow_to_end(kvctl, epoch, 0, &reply);
	if (status == KVCTL_DONE && !has_come_about(work->reply.plan, reply.cluster))
		status = kvctl_fail(kvctl, KVCTL_REFUSED,
				    "the change was taken back, or another one followed it; epoch %" PRIu64
				    ". `kvctl status` shows what holds",
				    reply.cluster->epoch);
	if (status == KVCTL_DONE)
		*epoch_out = reply.cluster->epoch;
	kv_client_reply_release(&reply);
	return status;
}

static void print_committed(const struct plan_arguments *arguments, const struct work *work, uint64_t epoch)
{
	if (arguments->kvctl->json) {
		json_t *document = plan_json(work->reply.plan, &work->staged);
		json_object_set_new(document, "epoch", json_integer((json_int_t)epoch));
		kvctl_print_json(document);
	} else if (arguments->wait) {
		printf("done: epoch %" PRIu64 "\n", epoch);
	} else {
		printf("\nbegun: epoch %" PRIu64
		       ". `kvctl cluster wait` follows it, `kvctl cluster abort` takes it back while data is copied.\n",
		       epoch);
	}
}

static int commit(const struct plan_arguments *arguments, struct work *work)
{
	const struct kvctl *kvctl = arguments->kvctl;
	struct kv_client_reply reply;
	struct rpc_error error;
	work->request.body.parent_hash = work->reply.plan->parent_hash;
	work->request.body.plan_hash = work->reply.plan->plan_hash;
	work->request.body.allow_violations = arguments->allow;
	int failed = kv_client_commit_change(kvctl->client, &work->request.body, &reply);
	uint64_t epoch = failed == 0 ? reply.plan->epoch : 0;
	int status = failed < 0 ? kvctl_fail_call(kvctl, &reply) : KVCTL_DONE;
	kv_client_reply_release(&reply);
	if (status == KVCTL_DONE && staged_clear(work->staged.cluster_id, &error) < 0)
		fprintf(stderr, "%s: the change has begun, but remains staged: %s\n", kvctl->command, error.text);
	if (status == KVCTL_DONE && arguments->wait)
		status = wait_for_end(kvctl, work, epoch, &epoch);
	if (status == KVCTL_DONE)
		print_committed(arguments, work, epoch);
	return status;
}

int command_cluster_commit(struct kvctl *kvctl, int argc, char **argv)
{
	struct plan_arguments arguments = {.kvctl = kvctl};
	argp_parse(&commit_argp, argc, argv, 0, NULL, &arguments);
	if (!arguments.yes && (kvctl->json || !isatty(STDIN_FILENO)))
		return kvctl_fail(
			kvctl, KVCTL_USAGE,
			"there is nobody to ask: --yes commits without. `kvctl cluster plan` shows the plan.");
	struct work *work = create();
	int status = make_plan(kvctl, work);
	if (status == KVCTL_DONE) {
		if (!kvctl->json)
			plan_print(work->reply.plan, &work->staged, stdout);
		fflush(stdout);
		status = may_commit(&arguments, work);
	}
	if (status == KVCTL_DONE)
		status = commit(&arguments, work);
	destroy(work);
	return status;
}
