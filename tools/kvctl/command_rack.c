/* SPDX-License-Identifier: Apache-2.0 */
/* kvctl cluster rack: where a member stands, as a change of the ring that a majority of the members agrees on. */
#include "tools/kvctl/kvctl.h"

#include <inttypes.h>

struct rack_arguments {
	struct kvctl *kvctl;
	const char *node, *rack;
};

static error_t parse_arguments(int key, char *arg, struct argp_state *state)
{
	struct rack_arguments *arguments = state->input;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = arguments->kvctl;
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num == 0)
			arguments->node = arg;
		else if (state->arg_num == 1)
			arguments->rack = arg;
		else
			argp_error(state, "takes a node and a rack, and not '%s' besides", arg);
		return 0;
	case ARGP_KEY_END:
		if (arguments->rack == NULL)
			argp_error(state, "which node stands in which rack? Give NODE and RACK");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp rack_argp = {
	.parser = parse_arguments,
	.args_doc = "NODE RACK",
	.doc = "Says in which rack a member stands. A majority of the members has to agree."
	       "\vNODE is the name of a member, as `kvctl status` shows it. RACK has letters, digits, '.', '_' and "
	       "'-'; '' "
	       "is none. Replicas of a key stand in distinct racks while there are enough: that is looked at when the "
	       "owners of the ring are computed next, so nothing moves now.\n\n"
	       "A change that did not get a majority in time changed nothing, or is in doubt (exit status 4): it may "
	       "come "
	       "about later. `kvctl ring` shows what holds; repeating it is harmless.\n\n"
	       "Examples:\n"
	       "  kvctl cluster rack n2 cellar\n"
	       "  kvctl cluster rack n2 ''",
	.children = kvctl_argp_child,
};

int command_cluster_rack(struct kvctl *kvctl, int argc, char **argv)
{
	struct rack_arguments arguments = {.kvctl = kvctl};
	argp_parse(&rack_argp, argc, argv, 0, NULL, &arguments);
	int status = kvctl_connect(kvctl);
	if (status != KVCTL_DONE)
		return status;
	Kvring__V1__SetRackRequest request = KVRING__V1__SET_RACK_REQUEST__INIT;
	struct kv_client_reply reply;
	request.node = (char *)arguments.node;
	request.rack = (char *)arguments.rack;
	if (kv_client_set_rack(kvctl->client, &request, &reply) < 0)
		status = kvctl_fail_call(kvctl, &reply);
	else if (kvctl->json)
		kvctl_print_json(json_pack("{s:s, s:s, s:I}", "node", arguments.node, "rack", arguments.rack, "epoch",
					   (json_int_t)reply.init->epoch));
	else
		printf("%s stands in rack '%s', epoch %" PRIu64 "\n", arguments.node, arguments.rack,
		       reply.init->epoch);
	kv_client_reply_release(&reply);
	return status;
}
