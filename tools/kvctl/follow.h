/* SPDX-License-Identifier: Apache-2.0 */
/* Follow: a change of the ring, watched until it is over, with a bar on a terminal.
 *
 * Threading   One thread.
 * Ownership   The caller owns the reply.
 * Errors      KVCTL_UNREACHABLE when time is over, or no node answers for long; the text has been printed.
 */
#ifndef KVRING_KVCTL_FOLLOW_H
#define KVRING_KVCTL_FOLLOW_H

#include "tools/kvctl/kvctl.h"

/* How far the members are with taking over partitions, all of them together. */
struct follow_sum {
	uint64_t incoming, total; /* partitions: still to come, of how many */
	uint64_t bytes;           /* that were copied */
	unsigned leaving;         /* members */
};

void follow_sum(const Kvring__V1__StatusResponse *, struct follow_sum *out);
/* No step of a change is under way, no member is on its way out, and every member that is up knows. */
bool follow_is_over(const Kvring__V1__StatusResponse *);
/* Asks until it is over and the ring has `epoch` or a later one. wait_ms 0: as long as it takes. The last answer stays in
 * the reply. */
int follow_to_end(const struct kvctl *, uint64_t epoch, uint64_t wait_ms, struct kv_client_reply *);

#endif
