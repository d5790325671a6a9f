/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/plan.h"
#include "tools/kvctl/members.h"
#include "tools/kvctl/staged.h"
#include "tools/kvctl/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const char *name_of(const Kvring__V1__ChangePlan *plan, uint64_t node_id)
{
	for (size_t i = 0; i < plan->n_members; i++)
		if (plan->members[i]->node_id == node_id)
			return plan->members[i]->name;
	return "?";
}

static int by_name(const void *a, const void *b)
{
	const Kvring__V1__PlannedMember *const *one = a, *const *other = b;
	return strverscmp((*one)->name, (*other)->name);
}

static int by_names(const void *a, const void *b, void *plan)
{
	const Kvring__V1__PlannedLink *const *one = a, *const *other = b;
	int order = strverscmp(name_of(plan, (*one)->to), name_of(plan, (*other)->to));
	return order != 0 ? order : strverscmp(name_of(plan, (*one)->from), name_of(plan, (*other)->from));
}

/* By name, n2 before n10; of links who receives comes first. */
static void sort(const Kvring__V1__ChangePlan *plan)
{
	if (plan->n_members > 0)
		qsort(plan->members, plan->n_members, sizeof *plan->members, by_name);
	if (plan->n_links > 0) /* else there is no list */
		qsort_r(plan->links, plan->n_links, sizeof *plan->links, by_names, (void *)plan);
}

/* ---- text ----------------------------------------------------------------------------------------------------- */

static void number_cell(struct table *table, uint32_t before, uint32_t after)
{
	if (before == after)
		table_cell(table, "%" PRIu32, after);
	else
		table_cell(table, "%" PRIu32 " -> %" PRIu32, before, after);
}

static void state_cell(struct table *table, const char *before, const char *after)
{
	if (!strcmp(before, after))
		table_cell(table, "%s", after);
	else
		table_cell(table, "%s -> %s", *before ? before : "no member", *after ? after : "no member");
}

static void print_members(const Kvring__V1__ChangePlan *plan, FILE *file)
{
	static const char *const COLUMNS[] = {"NODE", "DC/RACK", "STATE", ">WEIGHT", ">PARTITIONS", ">FIRST", NULL};
	struct table table;
	table_init(&table, COLUMNS);
	for (size_t i = 0; i < plan->n_members; i++) {
		const Kvring__V1__PlannedMember *member = plan->members[i];
		table_cell(&table, "%s", member->name);
		table_cell(&table, "%s/%s", member->datacenter, *member->rack ? member->rack : "-");
		state_cell(&table, member->state_before, member->state_after);
		number_cell(&table, member->weight_before, member->weight_after);
		number_cell(&table, member->partitions_before, member->partitions_after);
		number_cell(&table, member->primaries_before, member->primaries_after);
	}
	table_print(&table, file);
}

static void print_links(const Kvring__V1__ChangePlan *plan, FILE *file)
{
	static const char *const COLUMNS[] = {"FROM", "TO", ">PARTITIONS", ">BYTES", ">ABOUT", NULL};
	struct table table;
	char text[32];
	if (plan->n_links == 0)
		return;
	fputs("\n", file);
	table_init(&table, COLUMNS);
	for (size_t i = 0; i < plan->n_links; i++) {
		const Kvring__V1__PlannedLink *link = plan->links[i];
		table_cell(&table, "%s", link->from ? name_of(plan, link->from) : "-");
		table_cell(&table, "%s", name_of(plan, link->to));
		table_cell(&table, "%" PRIu32, link->partitions);
		table_cell(&table, "%s", table_bytes(link->bytes, text));
		table_cell(&table, "%s", table_duration(link->estimated_ms, text));
	}
	table_print(&table, file);
}

void plan_print(const Kvring__V1__ChangePlan *plan, const struct staged *staged, FILE *file)
{
	char bytes[32], duration[32];
	sort(plan);
	for (unsigned i = 0; i < staged->count; i++) {
		fputs(i > 0 ? ", " : "", file);
		staged_say(&staged->changes[i], file);
	}
	fputs("\n\n", file);
	print_members(plan, file);
	print_links(plan, file);
	fprintf(file, "\n%" PRIu32 " places in partitions move, the least possible is %" PRIu32 "; %s, about %s\n",
		plan->moves, plan->minimum_moves, table_bytes(plan->bytes, bytes),
		table_duration(plan->estimated_ms, duration));
	for (size_t i = 0; i < plan->n_violations; i++)
		fprintf(file, "! %s\n", plan->violations[i]);
}

/* ---- JSON ----------------------------------------------------------------------------------------------------- */

static json_t *member_json(const Kvring__V1__PlannedMember *member)
{
	json_t *object = json_pack("{s:o, s:s, s:s, s:s, s:s, s:s}", "node_id", members_id_json(member->node_id),
				   "name", member->name, "datacenter", member->datacenter, "rack", member->rack,
				   "state_before", member->state_before, "state_after", member->state_after);
	const struct {
		const char *name;
		uint32_t number;
	} figures[] = {
		{"weight_before", member->weight_before},         {"weight_after", member->weight_after},
		{"partitions_before", member->partitions_before}, {"partitions_after", member->partitions_after},
		{"primaries_before", member->primaries_before},   {"primaries_after", member->primaries_after},
	};
	for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
		json_object_set_new(object, figures[i].name, json_integer(figures[i].number));
	return object;
}

static json_t *links_json(const Kvring__V1__ChangePlan *plan)
{
	json_t *links = json_array();
	for (size_t i = 0; i < plan->n_links; i++) {
		const Kvring__V1__PlannedLink *link = plan->links[i];
		json_t *from = link->from ? json_string(name_of(plan, link->from)) : json_null();
		json_array_append_new(links, json_pack("{s:o, s:s, s:I, s:I, s:I}", "from", from, "to",
						       name_of(plan, link->to), "partitions",
						       (json_int_t)link->partitions, "bytes", (json_int_t)link->bytes,
						       "estimated_ms", (json_int_t)link->estimated_ms));
	}
	return links;
}

json_t *plan_json(const Kvring__V1__ChangePlan *plan, const struct staged *staged)
{
	sort(plan);
	json_t *members = json_array(), *violations = json_array();
	for (size_t i = 0; i < plan->n_members; i++)
		json_array_append_new(members, member_json(plan->members[i]));
	for (size_t i = 0; i < plan->n_violations; i++)
		json_array_append_new(violations, json_string(plan->violations[i]));
	return json_pack("{s:I, s:o, s:o, s:o, s:o, s:o, s:I, s:I, s:o, s:I, s:I}", "epoch", (json_int_t)plan->epoch,
			 "parent_hash", members_id_json(plan->parent_hash), "plan_hash",
			 members_id_json(plan->plan_hash), "changes", staged_json(staged), "members", members, "links",
			 links_json(plan), "moves", (json_int_t)plan->moves, "minimum_moves",
			 (json_int_t)plan->minimum_moves, "violations", violations, "bytes", (json_int_t)plan->bytes,
			 "estimated_ms", (json_int_t)plan->estimated_ms);
}
