/* SPDX-License-Identifier: Apache-2.0 */
/* kvctl members: who hears whom, and who is down by whose word. */
#include "tools/kvctl/kvctl.h"
#include "tools/kvctl/members.h"
#include "tools/kvctl/table.h"

#include <string.h>

enum {
	MATRIX_MAX = 48, /* members: above it a line would not fit, and only the reports are shown */
	CELL = 3,        /* columns of the matrix besides the names */
	NAMES_SIZE = 256,
};

static error_t parse_arguments(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = state->input;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "takes no argument, not '%s'. `kvctl status` shows loads and addresses.", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp members_argp = {
	.parser = parse_arguments,
	.doc = "Shows which members are alive, and which member reports whom to be silent."
	       "\vSTATE is up; unreachable: the answering node hears nothing of it, by any way, nor does it answer; "
	       "down: at "
	       "least two members report that; unknown: not heard since the answering node started. SINCE is for how "
	       "long. UNHEARD BY names the members that report it.\n\n"
	       "In the matrix each line is what one member says of the others: . heard, x silent, ? its word does not "
	       "count, because the answering node does not hear it. Ask another node (-e) for its view: behind a cut "
	       "network both sides have one.\n\n"
	       "Examples:\n"
	       "  kvctl members\n"
	       "  kvctl members -e n3:7700 -o json",
	.children = kvctl_argp_child,
};

/* ---- JSON ----------------------------------------------------------------------------------------------------- */

static json_t *reporters_json(const Kvring__V1__StatusResponse *status, uint64_t node_id)
{
	json_t *names = json_array();
	for (size_t i = 0; i < status->n_members; i++)
		if (members_reports(status->members[i], node_id))
			json_array_append_new(names, json_string(status->members[i]->name));
	return names;
}

static void print_json(const Kvring__V1__StatusResponse *status)
{
	json_t *members = json_array();
	for (size_t i = 0; i < status->n_members; i++) {
		const Kvring__V1__NodeStatus *member = status->members[i];
		json_t *object = json_pack(
			"{s:o, s:s, s:s, s:I, s:b, s:b, s:o}", "node_id", members_id_json(member->node_id), "name",
			member->name, "state", member->state, "state_ms", (json_int_t)member->state_ms, "heard",
			member->heard, "linked", member->linked, "unheard_by", reporters_json(status, member->node_id));
		json_object_set_new(object, "last_seen_ms",
				    member->heard ? json_integer((json_int_t)member->last_seen_ms) : json_null());
		json_array_append_new(members, object);
	}
	kvctl_print_json(
		json_pack("{s:o, s:o}", "answered_by", members_id_json(status->answered_by), "members", members));
}

/* ---- text ----------------------------------------------------------------------------------------------------- */

static const char *reporters_text(const Kvring__V1__StatusResponse *status, uint64_t node_id, char names[NAMES_SIZE])
{
	size_t used = 0;
	strcpy(names, "-");
	for (size_t i = 0; i < status->n_members; i++) {
		const char *name = status->members[i]->name;
		if (!members_reports(status->members[i], node_id))
			continue;
		if (used + strlen(name) + sizeof ", ..." > NAMES_SIZE) {
			strcpy(names + used, ", ...");
			break;
		}
		used += (size_t)sprintf(names + used, "%s%s", used > 0 ? ", " : "", name);
	}
	return names;
}

static void print_members(const Kvring__V1__StatusResponse *status)
{
	static const char *const COLUMNS[] = {"NODE", "STATE", ">SINCE", ">HEARD", "LINK", "UNHEARD BY", NULL};
	struct table table;
	char text[32], names[NAMES_SIZE];
	table_init(&table, COLUMNS);
	for (size_t i = 0; i < status->n_members; i++) {
		const Kvring__V1__NodeStatus *member = status->members[i];
		table_cell(&table, "%s", member->name);
		table_cell(&table, "%s", member->state);
		table_cell(&table, "%s", member->state_ms > 0 ? table_duration(member->state_ms, text) : "-");
		table_cell(&table, "%s", member->heard ? table_duration(member->last_seen_ms, text) : "never");
		table_cell(&table, "%s", member->linked ? "yes" : "no");
		table_cell(&table, "%s", reporters_text(status, member->node_id, names));
	}
	table_print(&table, stdout);
}

static int longest_name(const Kvring__V1__StatusResponse *status)
{
	size_t longest = 0;
	for (size_t i = 0; i < status->n_members; i++)
		if (strlen(status->members[i]->name) > longest)
			longest = strlen(status->members[i]->name);
	return (int)longest;
}

static char cell_of(const Kvring__V1__NodeStatus *says, const Kvring__V1__NodeStatus *of)
{
	if (!members_is_up(says))
		return '?';
	return members_reports(says, of->node_id) ? 'x' : '.';
}

/* Numbers head the columns: names are too long. */
static void print_matrix(const Kvring__V1__StatusResponse *status)
{
	int width = longest_name(status) + CELL;
	printf("\n%*s", width, "");
	for (size_t i = 0; i < status->n_members; i++)
		printf("%*zu", CELL, i + 1);
	for (size_t says = 0; says < status->n_members; says++) {
		printf("\n%2zu %-*s", says + 1, width - CELL, status->members[says]->name);
		for (size_t of = 0; of < status->n_members; of++)
			printf("%*c", CELL, of == says ? '-' : cell_of(status->members[says], status->members[of]));
	}
	printf("\n");
}

static void print_text(const Kvring__V1__StatusResponse *status)
{
	if (status->cluster_id == 0) {
		puts("This node is in no cluster yet: `kvctl cluster init HOST:PORT...` makes one.");
		return;
	}
	printf("%zu members; as %s sees it\n\n", status->n_members, members_name(status, status->answered_by));
	print_members(status);
	if (status->n_members <= MATRIX_MAX)
		print_matrix(status);
}

int command_members(struct kvctl *kvctl, int argc, char **argv)
{
	argp_parse(&members_argp, argc, argv, 0, NULL, kvctl);
	int status = kvctl_connect(kvctl);
	if (status != KVCTL_DONE)
		return status;
	struct kv_client_reply reply;
	if (kv_client_status(kvctl->client, &reply) < 0) {
		status = kvctl_fail_call(kvctl, &reply);
	} else {
		members_sort(reply.cluster);
		if (kvctl->json)
			print_json(reply.cluster);
		else
			print_text(reply.cluster);
	}
	kv_client_reply_release(&reply);
	return status;
}
