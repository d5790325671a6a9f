/* SPDX-License-Identifier: Apache-2.0 */
/* Plan: what a change of the ring would do, as the cluster computed it, for people and for programs.
 *
 * Threading   One thread.
 * Ownership   Borrows.
 * Errors      None.
 */
#ifndef KVRING_KVCTL_PLAN_H
#define KVRING_KVCTL_PLAN_H

#include <jansson.h>
#include <stdio.h>
#include "proto/kv.pb-c.h"

struct staged;

void plan_print(const Kvring__V1__ChangePlan *, const struct staged *, FILE *);
json_t *plan_json(const Kvring__V1__ChangePlan *, const struct staged *);

#endif
