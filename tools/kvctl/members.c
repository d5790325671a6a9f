/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/members.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int by_name(const void *a, const void *b)
{
	const Kvring__V1__NodeStatus *const *one = a, *const *other = b;
	return strverscmp((*one)->name, (*other)->name);
}

void members_sort(const Kvring__V1__StatusResponse *status)
{
	qsort(status->members, status->n_members, sizeof *status->members, by_name);
}

const char *members_name(const Kvring__V1__StatusResponse *status, uint64_t node_id)
{
	for (size_t i = 0; i < status->n_members; i++)
		if (status->members[i]->node_id == node_id)
			return status->members[i]->name;
	return "a node that is no member";
}

json_t *members_id_json(uint64_t node_id)
{
	char text[17];
	snprintf(text, sizeof text, "%016" PRIx64, node_id);
	return json_string(text);
}

bool members_is_up(const Kvring__V1__NodeStatus *member)
{
	return strcmp(member->state, "up") == 0;
}

bool members_reports(const Kvring__V1__NodeStatus *member, uint64_t node_id)
{
	for (size_t i = 0; i < member->n_unheard; i++)
		if (member->unheard[i] == node_id)
			return true;
	return false;
}
