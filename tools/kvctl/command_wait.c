/* SPDX-License-Identifier: Apache-2.0 */
/* kvctl cluster wait and abort: a change of the ring that is under way. */
#include "tools/kvctl/kvctl.h"
#include "tools/kvctl/follow.h"
#include "tools/kvctl/members.h"

#include <inttypes.h>

enum { OPTION_EPOCH = 1000, CALL_MS = 5000 };

/* ---- wait ----------------------------------------------------------------------------------------------------- */

static const struct argp wait_argp = {
	.parser = kvctl_parse_nothing,
	.doc = "Waits until a change of the ring is over: the new owners have the data and serve it, and members that "
	       "leave are gone. Shows how far it is on stderr."
	       "\vWithout --timeout it waits as long as it takes. It ends with 0 at once when no change is under way, "
	       "and "
	       "with 5 when the time is over; the change goes on all the same.\n\n"
	       "Examples:\n"
	       "  kvctl cluster wait\n"
	       "  kvctl cluster wait --timeout 10m",
	.children = kvctl_argp_child,
};

static void print_stable(const struct kvctl *kvctl, const Kvring__V1__StatusResponse *status)
{
	if (kvctl->json)
		kvctl_print_json(json_pack("{s:I, s:s, s:i}", "epoch", (json_int_t)status->epoch, "transition",
					   status->transition, "members", (int)status->n_members));
	else
		printf("%s, epoch %" PRIu64 ", %zu members\n", status->transition, status->epoch, status->n_members);
}

int command_cluster_wait(struct kvctl *kvctl, int argc, char **argv)
{
	struct kv_client_reply reply;
	kvctl->timeout_ms = 0; /* so that it shows whether one is given */
	argp_parse(&wait_argp, argc, argv, 0, NULL, kvctl);
	uint32_t wait_ms = kvctl->timeout_ms;
	if (wait_ms == 0 || wait_ms > CALL_MS)
		kvctl->timeout_ms = CALL_MS;
	int status = kvctl_ask_cluster(kvctl, &reply);
	kv_client_reply_release(&reply);
	if (status == KVCTL_DONE)
		status = follow_to_end(kvctl, 0, wait_ms, &reply);
	if (status == KVCTL_DONE)
		print_stable(kvctl, reply.cluster);
	kv_client_reply_release(&reply);
	return status;
}

/* ---- abort ---------------------------------------------------------------------------------------------------- */

struct abort_arguments {
	struct kvctl *kvctl;
	uint32_t epoch;
};

static error_t parse_abort(int key, char *arg, struct argp_state *state)
{
	struct abort_arguments *arguments = state->input;
	if (key == OPTION_EPOCH) {
		arguments->epoch = kvctl_parse_number(state, "--epoch", arg, 1, UINT32_MAX);
		return 0;
	}
	if (key == ARGP_KEY_INIT) {
		state->child_inputs[0] = arguments->kvctl;
		return 0;
	}
	return kvctl_parse_nothing(key, arg, state);
}

static const struct argp_option abort_options[] = {
	{"epoch", OPTION_EPOCH, "EPOCH", 0, "Only the change that `commit` said has this epoch (default: any)", 1},
	{0},
};

static const struct argp abort_argp = {
	.options = abort_options,
	.parser = parse_abort,
	.doc = "Takes a change of the ring back while data is being copied: the owners from before stay the owners."
	       "\vNothing is lost: writes went to the owners from before all the time. Nodes that were to join stay "
	       "members without data (standby), and what was copied to them is dropped. Once reads go to the new "
	       "owners "
	       "(`kvctl status` says switching) it is too late, and the change completes by itself.\n\n"
	       "Examples:\n"
	       "  kvctl cluster abort",
	.children = kvctl_argp_child,
};

int command_cluster_abort(struct kvctl *kvctl, int argc, char **argv)
{
	struct abort_arguments arguments = {.kvctl = kvctl};
	argp_parse(&abort_argp, argc, argv, 0, NULL, &arguments);
	int status = kvctl_connect(kvctl);
	if (status != KVCTL_DONE)
		return status;
	Kvring__V1__AbortRequest request = KVRING__V1__ABORT_REQUEST__INIT;
	struct kv_client_reply reply;
	request.epoch = arguments.epoch;
	if (kv_client_abort_change(kvctl->client, &request, &reply) < 0)
		status = kvctl_fail_call(kvctl, &reply);
	else if (kvctl->json)
		kvctl_print_json(json_pack("{s:I}", "epoch", (json_int_t)reply.init->epoch));
	else
		printf("taken back: the owners are those from before, epoch %" PRIu64 "\n", reply.init->epoch);
	kv_client_reply_release(&reply);
	return status;
}
