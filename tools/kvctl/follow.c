/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/follow.h"
#include "tools/kvctl/members.h"
#include "tools/kvctl/progress.h"
#include "tools/kvctl/table.h"

#include <inttypes.h>
#include <string.h>
#include <time.h>

enum {
	POLL_MS = 100,
	SILENCE_US = 30 * 1000 * 1000, /* so long no node at all may answer: one of many that restarts does sooner */
	TEXT_SIZE = 160,
};

void follow_sum(const Kvring__V1__StatusResponse *status, struct follow_sum *out)
{
	*out = (struct follow_sum){0};
	for (size_t i = 0; i < status->n_members; i++) {
		const Kvring__V1__NodeStatus *member = status->members[i];
		out->incoming += member->incoming_partitions;
		out->total += member->incoming_total;
		out->bytes += member->copied_bytes;
		out->leaving += !strcmp(member->member_state, "leaving");
	}
}

/* Every member that is up has the document of this answer, and none has a later one: whoever is asked next says the same. */
static bool is_everywhere(const Kvring__V1__StatusResponse *status)
{
	for (size_t i = 0; i < status->n_members; i++) {
		const Kvring__V1__NodeStatus *member = status->members[i];
		if (member->epoch > status->epoch || (member->epoch < status->epoch && members_is_up(member)))
			return false;
	}
	return true;
}

bool follow_is_over(const Kvring__V1__StatusResponse *status)
{
	struct follow_sum sum;
	follow_sum(status, &sum);
	return !strcmp(status->transition, "stable") && sum.leaving == 0 && is_everywhere(status);
}

static double share_of(const Kvring__V1__StatusResponse *status, const struct follow_sum *sum)
{
	if (strcmp(status->transition, "copying"))
		return 1;
	return sum->total > 0 ? (double)(sum->total - sum->incoming) / (double)sum->total : 0;
}

static const char *describe(const Kvring__V1__StatusResponse *status, const struct follow_sum *sum, double seconds,
			    char text[TEXT_SIZE])
{
	char bytes[32], left[32];
	uint64_t done = sum->total - sum->incoming;
	int size = snprintf(text, TEXT_SIZE, "%s  epoch %" PRIu64, status->transition, status->epoch);
	if (!strcmp(status->transition, "copying"))
		size += snprintf(text + size, TEXT_SIZE - (size_t)size,
				 "  %" PRIu64 " of %" PRIu64 " partitions to come  %s copied", sum->incoming,
				 sum->total, table_bytes(sum->bytes, bytes));
	if (!strcmp(status->transition, "copying") && sum->incoming > 0 && done > 0)
		snprintf(text + size, TEXT_SIZE - (size_t)size, "  %s left",
			 table_duration((uint64_t)(seconds * 1000 * (double)sum->incoming / (double)done), left));
	return text;
}

static int give_up(const struct kvctl *kvctl, int error, const struct kv_client_reply *reply, uint64_t wait_ms)
{
	if (error < 0)
		return kvctl_fail_call(kvctl, reply);
	return kvctl_fail(kvctl, KVCTL_UNREACHABLE,
			  "the change is not over after %" PRIu64
			  " ms, and goes on; `kvctl status` shows what is still to "
			  "come",
			  wait_ms);
}

int follow_to_end(const struct kvctl *kvctl, uint64_t epoch, uint64_t wait_ms, struct kv_client_reply *reply)
{
	uint64_t start_us = rpc_now_us(), heard_us = start_us;
	struct progress progress;
	char text[TEXT_SIZE];
	progress_init(&progress, "ring", 0, 0, false);
	for (bool shown = false;;) {
		int error = kvctl_status(kvctl, reply);
		uint64_t now = rpc_now_us();
		if (error == 0) {
			struct follow_sum sum;
			follow_sum(reply->cluster, &sum);
			heard_us = now;
			describe(reply->cluster, &sum, progress_seconds(&progress), text);
			if (reply->cluster->epoch >= epoch && follow_is_over(reply->cluster)) {
				if (shown)
					progress_end(&progress, 1, text);
				return KVCTL_DONE;
			}
			progress_show(&progress, share_of(reply->cluster, &sum), text);
			shown = true;
		}
		if ((wait_ms > 0 && now > start_us + wait_ms * 1000) || now > heard_us + SILENCE_US)
			return give_up(kvctl, error, reply, wait_ms);
		kv_client_reply_release(reply);
		nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000L}, NULL);
	}
}
