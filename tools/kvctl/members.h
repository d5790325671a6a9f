/* SPDX-License-Identifier: Apache-2.0 */
/* Members of a status answer, as the commands that show them need them.
 *
 * Threading   One thread.
 * Ownership   Borrows the answer.
 * Errors      None.
 */
#ifndef KVRING_KVCTL_MEMBERS_H
#define KVRING_KVCTL_MEMBERS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include "proto/kv.pb-c.h"

void members_sort(const Kvring__V1__StatusResponse *); /* by name: n2 before n10 */
const char *members_name(const Kvring__V1__StatusResponse *, uint64_t node_id);
json_t *members_id_json(uint64_t node_id);
bool members_is_up(const Kvring__V1__NodeStatus *);
/* This member reports to hear nothing of that node any more. */
bool members_reports(const Kvring__V1__NodeStatus *, uint64_t node_id);

#endif
