/* SPDX-License-Identifier: Apache-2.0 */
/* kvctl cluster init: the first ring document, made of nodes that are in no cluster yet. */
#include "tools/kvctl/kvctl.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { NODES_MAX = CLIENT_ENDPOINTS_MAX, POLL_MS = 50 };

struct init_arguments {
	struct kvctl *kvctl;
	const char *addresses[NODES_MAX];
	unsigned node_count;
	uint32_t replica_count, partition_count; /* 0: the node's default */
};

/* Each node's description of itself; index as in addresses. */
struct described {
	struct kv_client_reply replies[NODES_MAX];
	unsigned count;
};

static error_t parse_arguments(int key, char *arg, struct argp_state *state)
{
	struct init_arguments *arguments = state->input;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = arguments->kvctl;
		return 0;
	case 'n':
		arguments->replica_count = kvctl_parse_number(state, "--replicas", arg, 1, 8);
		return 0;
	case 'q':
		arguments->partition_count = kvctl_parse_number(state, "--partitions", arg, 8, 65536);
		if (arguments->partition_count & (arguments->partition_count - 1))
			argp_error(state, "--partitions is a power of two, not %s", arg);
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num == NODES_MAX)
			argp_error(state, "a first cluster has up to %d nodes", NODES_MAX);
		if (strrchr(arg, ':') == NULL || strchr(arg, ',') != NULL)
			argp_error(state, "give each node as HOST:PORT, separated by blanks, not '%s'", arg);
		arguments->addresses[arguments->node_count++] = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "which nodes? Give each as HOST:PORT, its client address");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option init_options[] = {
	{"replicas", 'n', "COUNT", 0, "Replicas of every key, N (default: 3)", 1},
	{"partitions", 'q', "COUNT", 0,
	 "Equal parts of the ring, a power of two; fixed for the life of the cluster (default: 1024)", 1},
	{0},
};

static const struct argp init_argp = {
	.options = init_options,
	.parser = parse_arguments,
	.args_doc = "HOST:PORT...",
	.doc = "Makes a cluster of running nodes that are in none yet, and waits until all of them have installed its "
	       "ring."
	       "\vEach HOST:PORT is the address a node listens on for clients. -e is not needed.\n\n"
	       "Examples:\n"
	       "  kvctl cluster init 10.0.0.1:7000 10.0.0.2:7000 10.0.0.3:7000\n"
	       "  kvctl cluster init --replicas 1 127.0.0.1:7000",
	.children = kvctl_argp_child,
};

static char *join(const struct init_arguments *arguments)
{
	char *list = NULL;
	size_t size;
	FILE *file = open_memstream(&list, &size);
	if (file == NULL)
		abort();
	for (unsigned i = 0; i < arguments->node_count; i++)
		fprintf(file, "%s%s", i ? "," : "", arguments->addresses[i]);
	fclose(file);
	return list;
}

/* ---- describe ------------------------------------------------------------------------------------------------- */

static int connect_all(struct kvctl *kvctl, const struct init_arguments *arguments)
{
	int status = kvctl_connect(kvctl);
	if (status != KVCTL_DONE ||
	    kv_client_wait_connected(kvctl->client, arguments->node_count, kvctl->timeout_ms) == 0)
		return status;
	for (unsigned i = 0; i < arguments->node_count; i++)
		if (!kv_client_endpoint_connected(kvctl->client, i))
			return kvctl_fail_connect(kvctl, i);
	return KVCTL_DONE; /* the last one came just now */
}

static int check_one(const struct kvctl *kvctl, const struct described *described,
		     const struct init_arguments *arguments, unsigned index)
{
	const Kvring__V1__NodeStatus *node = described->replies[index].describe;
	if (node->cluster_id)
		return kvctl_fail(
			kvctl, KVCTL_REFUSED,
			"%s (%s) is in cluster %016" PRIx64 " already; `kvctl -e %s status` shows it. To begin anew, "
			"stop the node and give it an empty data directory.",
			arguments->addresses[index], node->name, node->cluster_id, arguments->addresses[index]);
	for (unsigned i = 0; i < index; i++) {
		const Kvring__V1__NodeStatus *other = described->replies[i].describe;
		if (other->node_id == node->node_id)
			return kvctl_fail(kvctl, KVCTL_USAGE, "%s and %s are the same node, %s",
					  arguments->addresses[i], arguments->addresses[index], node->name);
		if (!strcmp(other->name, node->name))
			return kvctl_fail(kvctl, KVCTL_USAGE,
					  "%s and %s are both named '%s': give each node its own --name",
					  arguments->addresses[i], arguments->addresses[index], node->name);
	}
	return KVCTL_DONE;
}

static int describe_all(const struct kvctl *kvctl, const struct init_arguments *arguments, struct described *out)
{
	int status = KVCTL_DONE;
	while (status == KVCTL_DONE && out->count < arguments->node_count) {
		unsigned index = out->count++;
		if (kv_client_describe(kvctl->client, index, &out->replies[index]) < 0)
			status = kvctl_fail_call(kvctl, &out->replies[index]);
		else
			status = check_one(kvctl, out, arguments, index);
	}
	return status;
}

static void release_all(struct described *described)
{
	for (unsigned i = 0; i < described->count; i++)
		kv_client_reply_release(&described->replies[i]);
}

/* ---- init ----------------------------------------------------------------------------------------------------- */

static int send_init(const struct kvctl *kvctl, const struct init_arguments *arguments,
		     const struct described *described, struct kv_client_reply *reply)
{
	Kvring__V1__NodeStatus *members[NODES_MAX];
	for (unsigned i = 0; i < described->count; i++)
		members[i] = (Kvring__V1__NodeStatus *)described->replies[i].describe;
	Kvring__V1__InitRequest request = KVRING__V1__INIT_REQUEST__INIT;
	request.members = members;
	request.n_members = described->count;
	request.replica_count = arguments->replica_count;
	request.partition_count = arguments->partition_count;
	if (kv_client_init_cluster(kvctl->client, &request, reply) < 0)
		return kvctl_fail_call(kvctl, reply);
	return KVCTL_DONE;
}

/* 1 when the node has the ring, 0 when not yet, -1 when it is in another cluster by now. */
static int has_installed(const struct kvctl *kvctl, unsigned index, const Kvring__V1__InitResponse *init)
{
	struct kv_client_reply reply;
	int installed = 0;
	if (kv_client_describe(kvctl->client, index, &reply) == 0 && reply.describe->cluster_id)
		installed = reply.describe->cluster_id == init->cluster_id ? reply.describe->epoch >= init->epoch : -1;
	kv_client_reply_release(&reply);
	return installed;
}

static int wait_one(const struct kvctl *kvctl, const struct init_arguments *arguments,
		    const Kvring__V1__InitResponse *init, unsigned index, uint64_t end_us)
{
	int installed;
	while ((installed = has_installed(kvctl, index, init)) == 0) {
		if (rpc_now_us() > end_us)
			return kvctl_fail(kvctl, KVCTL_IN_DOUBT,
					  "the cluster is made, but %s has not installed its ring within %" PRIu32
					  " ms. It will when it hears of it; watch `kvctl -e %s status`.",
					  arguments->addresses[index], kvctl->timeout_ms, arguments->addresses[0]);
		nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
	}
	if (installed > 0)
		return KVCTL_DONE;
	return kvctl_fail(kvctl, KVCTL_REFUSED,
			  "%s joined another cluster at the same time, so now there are two. Was `cluster init` run "
			  "twice? Stop these nodes, "
			  "give each an empty data directory, and run it once.",
			  arguments->addresses[index]);
}

static int wait_installed(const struct kvctl *kvctl, const struct init_arguments *arguments,
			  const Kvring__V1__InitResponse *init)
{
	uint64_t end_us = rpc_now_us() + (uint64_t)kvctl->timeout_ms * 1000;
	int status = KVCTL_DONE;
	for (unsigned i = 0; i < arguments->node_count && status == KVCTL_DONE; i++)
		status = wait_one(kvctl, arguments, init, i, end_us);
	return status;
}

static void print_done(const struct kvctl *kvctl, const struct init_arguments *arguments,
		       const Kvring__V1__InitResponse *init)
{
	if (kvctl->json) {
		char id[17];
		snprintf(id, sizeof id, "%016" PRIx64, init->cluster_id);
		kvctl_print_json(json_pack("{s:s, s:I, s:i}", "cluster_id", id, "epoch", (json_int_t)init->epoch,
					   "nodes", (int)arguments->node_count));
		return;
	}
	printf("cluster %016" PRIx64 " of %u %s, epoch %" PRIu64 "\n", init->cluster_id, arguments->node_count,
	       arguments->node_count == 1 ? "node" : "nodes", init->epoch);
	uint32_t wanted = arguments->replica_count ? arguments->replica_count : 3;
	if (arguments->node_count < wanted)
		fprintf(stderr,
			"%s: note: %" PRIu32 " replicas need %" PRIu32
			" nodes; each key has %u until more nodes join (`kvctl cluster join`)\n",
			kvctl->command, wanted, wanted, arguments->node_count);
}

int command_cluster_init(struct kvctl *kvctl, int argc, char **argv)
{
	struct init_arguments arguments = {.kvctl = kvctl};
	struct described *described = calloc(1, sizeof *described);
	if (described == NULL)
		abort();
	argp_parse(&init_argp, argc, argv, 0, NULL, &arguments);
	char *endpoints = join(&arguments);
	kvctl->endpoints = endpoints;
	int status = connect_all(kvctl, &arguments);
	if (status == KVCTL_DONE)
		status = describe_all(kvctl, &arguments, described);
	if (status == KVCTL_DONE) {
		struct kv_client_reply reply;
		status = send_init(kvctl, &arguments, described, &reply);
		if (status == KVCTL_DONE)
			status = wait_installed(kvctl, &arguments, reply.init);
		if (status == KVCTL_DONE)
			print_done(kvctl, &arguments, reply.init);
		kv_client_reply_release(&reply);
	}
	release_all(described);
	free(described);
	if (kvctl->client != NULL)
		kv_client_close(&kvctl->client);
	free(endpoints);
	kvctl->endpoints = NULL;
	return status;
}
