/* SPDX-License-Identifier: Apache-2.0 */
/* kvctl status: every member as the node that answers knows it. */
#include "tools/kvctl/kvctl.h"
#include "tools/kvctl/follow.h"
#include "tools/kvctl/members.h"
#include "tools/kvctl/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OPTION_WAIT_UP = 1000, POLL_MS = 50 };

struct status_arguments {
	struct kvctl *kvctl;
	uint32_t wait_up; /* wait until so many members are up; 0: do not wait */
};

static error_t parse_arguments(int key, char *arg, struct argp_state *state)
{
	struct status_arguments *arguments = state->input;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = arguments->kvctl;
		return 0;
	case OPTION_WAIT_UP:
		arguments->wait_up = kvctl_parse_number(state, "--wait-up", arg, 1, 1024);
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "takes no argument, not '%s'. `kvctl ring KEY` asks for a key.", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option status_options[] = {
	{"wait-up", OPTION_WAIT_UP, "COUNT", 0,
	 "Wait until this many members are up, linked and proven, at most for --timeout", 1},
	{0},
};

static const struct argp status_argp = {
	.options = status_options,
	.parser = parse_arguments,
	.doc = "Shows every member of the cluster as the answering node knows it."
	       "\vSTATE is up, unreachable (no news for some seconds), down (at least two members report that; `kvctl "
	       "members` shows who), unknown (none since the answering node "
	       "started) or starting; no link: that node is not connected to it; receiving: its data directory went "
	       "back in time, and reads do not count its answers; unproven: it has just started, and reads count its "
	       "answers once a majority of the members has confirmed that it did not; leaving: it hands over its data "
	       "and "
	       "goes; standby: a member without data. While the ring changes, lines below the table say what is still "
	       "to "
	       "come: copying, data goes to its new owners and `kvctl cluster abort` takes the change back; switching, "
	       "reads go to the new owners. ADDRESS is what the member "
	       "announces; a line below tells when the ring document says another. EPOCH is that of the ring document "
	       "the member has installed. KEYS is how many keys it holds a replica of, to about a percent; deleted "
	       "keys count while the node remembers their deletion. LOAD is the busy share of its busiest worker. "
	       "HEARD is the age of the newest news from it.\n\n"
	       "Examples:\n"
	       "  kvctl status\n"
	       "  kvctl status --wait-up 3 --timeout 30s",
	.children = kvctl_argp_child,
};

/* Only what differs from the ring document. */
static void set_announced(json_t *object, const char *name, const char *address)
{
	if (*address)
		json_object_set_new(object, name, json_string(address));
}

static json_t *member_json(const Kvring__V1__NodeStatus *member)
{
	json_t *object =
		json_pack("{s:o, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "node_id", members_id_json(member->node_id),
			  "name", member->name, "state", member->state, "client_address", member->client_address,
			  "peer_address", member->peer_address, "bus_address", member->bus_address, "datacenter",
			  member->datacenter, "rack", member->rack);
	const struct {
		const char *name;
		uint64_t number;
	} figures[] = {
		{"weight", member->weight},
		{"epoch", member->epoch},
		{"keys", member->keys},
		{"disk_bytes", member->disk_bytes},
		{"memory_bytes", member->memory_bytes},
		{"puts", member->puts},
		{"gets", member->gets},
		{"uptime_ms", member->uptime_ms},
		{"shard_count", member->shard_count},
		{"last_seen_ms", member->last_seen_ms},
		{"dead_shards", member->dead_shards},
		{"ready_epoch", member->ready_epoch},
		{"incoming_partitions", member->incoming_partitions},
		{"incoming_total", member->incoming_total},
		{"copied_bytes", member->copied_bytes},
	};
	for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
		json_object_set_new(object, figures[i].name, json_integer((json_int_t)figures[i].number));
	json_object_set_new(object, "load", json_real(member->load));
	json_object_set_new(object, "heard", json_boolean(member->heard));
	json_object_set_new(object, "linked", json_boolean(member->linked));
	json_object_set_new(object, "receiving", json_boolean(member->receiving));
	json_object_set_new(object, "unproven", json_boolean(member->unproven));
	json_object_set_new(object, "member_state", json_string(member->member_state));
	json_object_set_new(object, "version", json_string(member->version));
	set_announced(object, "announced_client_address", member->announced_client_address);
	set_announced(object, "announced_peer_address", member->announced_peer_address);
	set_announced(object, "announced_bus_address", member->announced_bus_address);
	return object;
}

static void print_status_json(const Kvring__V1__StatusResponse *status)
{
	json_t *members = json_array();
	for (size_t i = 0; i < status->n_members; i++)
		json_array_append_new(members, member_json(status->members[i]));
	kvctl_print_json(json_pack("{s:o, s:I, s:s, s:o, s:i, s:i, s:o, s:o}", "cluster_id",
				   members_id_json(status->cluster_id), "epoch", (json_int_t)status->epoch,
				   "transition", status->transition, "ring_hash", members_id_json(status->ring_hash),
				   "partition_count", status->partition_count, "replica_count", status->replica_count,
				   "answered_by", members_id_json(status->answered_by), "members", members));
}

/* What it is beside a member with data. */
static const char *role(const Kvring__V1__NodeStatus *member)
{
	if (!strcmp(member->member_state, "leaving"))
		return ", leaving";
	return strcmp(member->member_state, "standby") ? "" : ", standby";
}

static void state_cell(struct table *table, const Kvring__V1__NodeStatus *member)
{
	if (member->dead_shards)
		table_cell(table, "%s, %" PRIu32 " of %" PRIu32 " shards dead%s", member->state, member->dead_shards,
			   member->shard_count, role(member));
	else
		table_cell(table, "%s%s%s%s", member->state,
			   members_is_up(member) && !member->linked ? ", no link" : "",
			   member->receiving  ? ", receiving"
			   : member->unproven ? ", unproven"
					      : "",
			   role(member));
}

static void member_row(struct table *table, const Kvring__V1__NodeStatus *member)
{
	char text[32];
	table_cell(table, "%s", member->name);
	state_cell(table, member);
	table_cell(table, "%s",
		   *member->announced_client_address ? member->announced_client_address : member->client_address);
	table_cell(table, "%s/%s", member->datacenter, *member->rack ? member->rack : "-");
	table_cell(table, "%" PRIu32, member->weight);
	table_cell(table, "%.0f %%", member->load * 100);
	table_cell(table, "%" PRIu64, member->epoch);
	table_cell(table, "%s", table_count(member->keys, text));
	table_cell(table, "%s", table_bytes(member->disk_bytes, text));
	table_cell(table, "%s", table_bytes(member->memory_bytes, text));
	table_cell(table, "%s", table_count(member->puts, text));
	table_cell(table, "%s", table_count(member->gets, text));
	table_cell(table, "%s", table_duration(member->uptime_ms, text));
	table_cell(table, "%s", member->heard ? table_duration(member->last_seen_ms, text) : "never");
}

static void print_other_address(const char *member, const char *kind, const char *in_document, const char *announced)
{
	if (*announced)
		printf("! %s: its %s address is %s; the ring document says %s\n", member, kind, announced, in_document);
}

/* Who looks for a node at the address of the document does not find it. */
static void print_other_addresses(const Kvring__V1__StatusResponse *status)
{
	for (size_t i = 0; i < status->n_members; i++) {
		const Kvring__V1__NodeStatus *member = status->members[i];
		print_other_address(member->name, "client", member->client_address, member->announced_client_address);
		print_other_address(member->name, "peer", member->peer_address, member->announced_peer_address);
		print_other_address(member->name, "bus", member->bus_address, member->announced_bus_address);
	}
}

static void print_receiving(const Kvring__V1__StatusResponse *status)
{
	for (size_t i = 0; i < status->n_members; i++)
		if (status->members[i]->receiving)
			printf("! %s: its data directory went back in time, so reads do not count its answers. Get "
			       "every key "
			       "at r=N (kvctl export --r N), then start it once with --accept-restored\n",
			       status->members[i]->name);
}

static void print_change(const Kvring__V1__StatusResponse *status)
{
	struct follow_sum sum;
	char bytes[32];
	follow_sum(status, &sum);
	if (!strcmp(status->transition, "copying"))
		printf("\ncopying: %" PRIu64 " of %" PRIu64 " partitions to come, %s copied\n", sum.incoming, sum.total,
		       table_bytes(sum.bytes, bytes));
	else if (!strcmp(status->transition, "switching"))
		puts("\nswitching: the new owners have the data, and reads go to them; the last step follows");
	else if (sum.leaving > 0)
		printf("\n%u leaving: done once every member that is up has heard of the new ring\n", sum.leaving);
	else
		return;
	for (size_t i = 0; i < status->n_members; i++) {
		const Kvring__V1__NodeStatus *member = status->members[i];
		if (member->incoming_total > 0 && !strcmp(status->transition, "copying"))
			printf("  %s: %" PRIu32 " of %" PRIu32 " partitions to come, %s copied\n", member->name,
			       member->incoming_partitions, member->incoming_total,
			       table_bytes(member->copied_bytes, bytes));
	}
}

static void print_status_text(const Kvring__V1__StatusResponse *status)
{
	static const char *const COLUMNS[] = {"NODE",  "STATE",  "ADDRESS", "DC/RACK", ">WEIGHT",
					      ">LOAD", ">EPOCH", ">KEYS",   ">DISK",   ">MEMORY",
					      ">PUTS", ">GETS",  ">UPTIME", ">HEARD",  NULL};
	if (!status->cluster_id)
		puts("This node is in no cluster yet: `kvctl cluster init HOST:PORT...` makes one.");
	else
		printf("cluster %016" PRIx64 ", epoch %" PRIu64 ", %" PRIu32 " partitions x %" PRIu32
		       " replicas; as %s sees it\n\n",
		       status->cluster_id, status->epoch, status->partition_count, status->replica_count,
		       members_name(status, status->answered_by));
	struct table table;
	table_init(&table, COLUMNS);
	members_sort(status);
	for (size_t i = 0; i < status->n_members; i++)
		member_row(&table, status->members[i]);
	table_print(&table, stdout);
	print_change(status);
	print_other_addresses(status);
	print_receiving(status);
}

static uint32_t count_up(const Kvring__V1__StatusResponse *status)
{
	uint32_t count = 0;
	for (size_t i = 0; i < status->n_members; i++)
		count += members_is_up(status->members[i]) && status->members[i]->linked &&
			 !status->members[i]->unproven;
	return count;
}

/* Asks until enough members are up; the last answer stays in the reply. */
static int wait_up(const struct status_arguments *arguments, struct kv_client_reply *reply)
{
	const struct kvctl *kvctl = arguments->kvctl;
	uint64_t end_us = rpc_now_us() + (uint64_t)kvctl->timeout_ms * 1000;
	for (;;) {
		int error = kv_client_status(kvctl->client, reply);
		uint32_t up = error < 0 ? 0 : count_up(reply->cluster);
		if (error == 0 && up >= arguments->wait_up)
			return KVCTL_DONE;
		if (rpc_now_us() > end_us) {
			if (error < 0)
				return kvctl_fail_call(kvctl, reply);
			return kvctl_fail(kvctl, KVCTL_UNREACHABLE,
					  "%" PRIu32 " of %" PRIu32 " members are up, linked and proven after %" PRIu32
					  " ms; `kvctl status` shows which",
					  up, arguments->wait_up, kvctl->timeout_ms);
		}
		kv_client_reply_release(reply);
		nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
	}
}

int command_status(struct kvctl *kvctl, int argc, char **argv)
{
	struct status_arguments arguments = {.kvctl = kvctl};
	argp_parse(&status_argp, argc, argv, 0, NULL, &arguments);
	int status = kvctl_connect(kvctl);
	if (status != KVCTL_DONE)
		return status;
	struct kv_client_reply reply;
	if (arguments.wait_up)
		status = wait_up(&arguments, &reply);
	else if (kv_client_status(kvctl->client, &reply) < 0)
		status = kvctl_fail_call(kvctl, &reply);
	if (status == KVCTL_DONE) {
		if (kvctl->json)
			print_status_json(reply.cluster);
		else
			print_status_text(reply.cluster);
	}
	kv_client_reply_release(&reply);
	return status;
}
