/* SPDX-License-Identifier: Apache-2.0 */
/* kvctl ring: who owns what, and how evenly; for one key: its partition and its nodes. */
#include "tools/kvctl/kvctl.h"
#include "tools/kvctl/base64.h"
#include "tools/kvctl/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct ring_arguments {
	struct kvctl *kvctl;
	const char *key, *bucket;
	bool key_is_base64, all;
};

static error_t parse_arguments(int key, char *arg, struct argp_state *state)
{
	struct ring_arguments *arguments = state->input;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = arguments->kvctl;
		return 0;
	case 'b':
		arguments->bucket = arg;
		return 0;
	case 'k':
		arguments->key_is_base64 = true;
		return 0;
	case 'a':
		arguments->all = true;
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num)
			argp_error(state, "one argument too many: '%s'", arg);
		arguments->key = arg;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option ring_options[] = {
	{"bucket", 'b', "NAME", 0, "Bucket of the key (default: default)", 1},
	{"base64-key", 'k', NULL, 0, "KEY is base64url: for keys that are no text", 1},
	{"all", 'a', NULL, 0, "Also the owners of every partition", 1},
	{0},
};

static const struct argp ring_argp = {
	.options = ring_options,
	.parser = parse_arguments,
	.args_doc = "[KEY]",
	.doc = "Shows how the partitions are spread over the members. With a KEY: its partition, the nodes that own it "
	       "in order of "
	       "preference, and who stands in for them.\vSHARE compares the replicas a member holds with what its "
	       "weight entitles it to.\n\n"
	       "Examples:\n"
	       "  kvctl ring\n"
	       "  kvctl ring greeting\n"
	       "  kvctl ring --all -o json",
	.children = kvctl_argp_child,
};

static const char *name_of(const Kvring__V1__RingResponse *ring, uint64_t id, char buffer[17])
{
	for (size_t i = 0; i < ring->n_members; i++)
		if (ring->members[i]->node_id == id)
			return ring->members[i]->name;
	snprintf(buffer, 17, "%016" PRIx64, id);
	return buffer;
}

static json_t *names_json(const Kvring__V1__RingResponse *ring, const uint64_t *ids, size_t count)
{
	json_t *names = json_array();
	char buffer[17];
	for (size_t i = 0; i < count; i++)
		json_array_append_new(names, json_string(name_of(ring, ids[i], buffer)));
	return names;
}

static void print_names(const char *title, const Kvring__V1__RingResponse *ring, const uint64_t *ids, size_t count)
{
	char buffer[17];
	printf("%-12s", title);
	for (size_t i = 0; i < count; i++)
		printf(" %s", name_of(ring, ids[i], buffer));
	puts(count ? "" : " none: every member is an owner");
}

/* ---- one key -------------------------------------------------------------------------------------------------- */

static void print_key(const struct kvctl *kvctl, const Kvring__V1__RingResponse *ring)
{
	if (kvctl->json) {
		kvctl_print_json(json_pack("{s:I, s:i, s:i, s:o, s:o}", "epoch", (json_int_t)ring->epoch, "partition",
					   ring->partition, "partition_count", ring->partition_count, "preference",
					   names_json(ring, ring->preference, ring->n_preference), "fallbacks",
					   names_json(ring, ring->fallbacks, ring->n_fallbacks)));
		return;
	}
	printf("%-12s %" PRIu32 " of %" PRIu32 ", epoch %" PRIu64 "\n", "partition", ring->partition,
	       ring->partition_count, ring->epoch);
	print_names("owners", ring, ring->preference, ring->n_preference);
	print_names("stand-ins", ring, ring->fallbacks, ring->n_fallbacks);
}

/* ---- the whole ring ------------------------------------------------------------------------------------------- */

/* Replicas in the member's datacenter times its part of the weight there. */
static double fair_share(const Kvring__V1__RingResponse *ring, const Kvring__V1__RingMember *member)
{
	double weight = 0, replicas = 0;
	for (size_t i = 0; i < ring->n_members; i++) {
		if (strcmp(ring->members[i]->datacenter, member->datacenter))
			continue;
		weight += ring->members[i]->weight;
		replicas += ring->members[i]->replicas;
	}
	return weight > 0 ? replicas * member->weight / weight : 0;
}

static json_t *owners_json(const Kvring__V1__RingResponse *ring)
{
	json_t *partitions = json_array();
	size_t row = ring->partition_count ? ring->n_owners / ring->partition_count : 0;
	for (size_t p = 0; row && p < ring->partition_count; p++)
		json_array_append_new(partitions, names_json(ring, ring->owners + p * row, row));
	return partitions;
}

static void print_ring_json(const Kvring__V1__RingResponse *ring, bool all)
{
	json_t *members = json_array(), *violations = json_array();
	for (size_t i = 0; i < ring->n_members; i++) {
		const Kvring__V1__RingMember *member = ring->members[i];
		json_array_append_new(members,
				      json_pack("{s:s, s:s, s:s, s:i, s:i, s:i, s:f}", "name", member->name,
						"datacenter", member->datacenter, "rack", member->rack, "weight",
						member->weight, "replicas", member->replicas, "primaries",
						member->primaries, "fair_share", fair_share(ring, member)));
	}
	for (size_t i = 0; i < ring->n_violations; i++)
		json_array_append_new(violations, json_string(ring->violations[i]));
	json_t *object = json_pack("{s:I, s:i, s:i, s:o, s:o}", "epoch", (json_int_t)ring->epoch, "partition_count",
				   ring->partition_count, "replica_count", ring->replica_count, "members", members,
				   "violations", violations);
	if (all)
		json_object_set_new(object, "owners", owners_json(ring));
	kvctl_print_json(object);
}

static void print_owners(const Kvring__V1__RingResponse *ring)
{
	size_t row = ring->partition_count ? ring->n_owners / ring->partition_count : 0;
	char title[16];
	puts("");
	for (size_t p = 0; row && p < ring->partition_count; p++) {
		snprintf(title, sizeof title, "%zu", p);
		print_names(title, ring, ring->owners + p * row, row);
	}
}

/* n2 before n10 */
static int by_name(const void *a, const void *b)
{
	const Kvring__V1__RingMember *const *one = a, *const *other = b;
	return strverscmp((*one)->name, (*other)->name);
}

static void print_ring_text(const Kvring__V1__RingResponse *ring)
{
	static const char *const COLUMNS[] = {"NODE", "DC/RACK", ">WEIGHT", ">REPLICAS", ">SHARE", ">FIRST IN", NULL};
	struct table table;
	printf("epoch %" PRIu64 ", %" PRIu32 " partitions x %" PRIu32 " replicas\n\n", ring->epoch,
	       ring->partition_count, ring->replica_count);
	table_init(&table, COLUMNS);
	qsort(ring->members, ring->n_members, sizeof *ring->members, by_name);
	for (size_t i = 0; i < ring->n_members; i++) {
		const Kvring__V1__RingMember *member = ring->members[i];
		double fair = fair_share(ring, member);
		table_cell(&table, "%s", member->name);
		table_cell(&table, "%s/%s", member->datacenter, *member->rack ? member->rack : "-");
		table_cell(&table, "%" PRIu32, member->weight);
		table_cell(&table, "%" PRIu32, member->replicas);
		table_cell(&table, "%.1f %%", fair > 0 ? 100 * member->replicas / fair : 0);
		table_cell(&table, "%" PRIu32, member->primaries);
	}
	table_print(&table, stdout);
	for (size_t i = 0; i < ring->n_violations; i++)
		printf("%s! %s\n", i ? "" : "\n", ring->violations[i]);
}

/* ---- the command ---------------------------------------------------------------------------------------------- */

static int take_key(const struct ring_arguments *arguments, uint8_t **bytes_out, ProtobufCBinaryData *key)
{
	key->data = (uint8_t *)arguments->key;
	key->len = arguments->key != NULL ? strlen(arguments->key) : 0;
	if (arguments->key == NULL)
		return KVCTL_DONE;
	if (key->len == 0)
		return kvctl_fail(arguments->kvctl, KVCTL_USAGE, "the key is empty: a key has at least one byte");
	if (!arguments->key_is_base64)
		return KVCTL_DONE;
	size_t offset;
	if (base64_decode(arguments->key, key->len, bytes_out, &key->len, &offset) < 0)
		return kvctl_fail(arguments->kvctl, KVCTL_USAGE, "KEY is no base64url: it breaks at character %zu",
				  offset + 1);
	key->data = *bytes_out;
	return KVCTL_DONE;
}

int command_ring(struct kvctl *kvctl, int argc, char **argv)
{
	struct ring_arguments arguments = {.kvctl = kvctl};
	argp_parse(&ring_argp, argc, argv, 0, NULL, &arguments);
	Kvring__V1__RingRequest request = KVRING__V1__RING_REQUEST__INIT;
	uint8_t *key = NULL;
	request.bucket.data = (uint8_t *)arguments.bucket;
	request.bucket.len = arguments.bucket != NULL ? strlen(arguments.bucket) : 0;
	int status = take_key(&arguments, &key, &request.key);
	if (status == KVCTL_DONE)
		status = kvctl_connect(kvctl);
	if (status == KVCTL_DONE) {
		struct kv_client_reply reply;
		if (kv_client_ring(kvctl->client, &request, &reply) < 0)
			status = kvctl_fail_call(kvctl, &reply);
		else if (arguments.key != NULL)
			print_key(kvctl, reply.ring);
		else if (kvctl->json)
			print_ring_json(reply.ring, arguments.all);
		else
			print_ring_text(reply.ring);
		if (status == KVCTL_DONE && arguments.all && arguments.key == NULL && !kvctl->json)
			print_owners(reply.ring);
		kv_client_reply_release(&reply);
	}
	free(key);
	return status;
}
