/* SPDX-License-Identifier: Apache-2.0 */
#include "node/observe/notes.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "node/object/limit.h"
#include "node/wire/codec.h"

enum {
	REQUEST_INTERVAL_US = 10 * 1000 * 1000,
	DISK_INTERVAL_US = 60 * 1000 * 1000, /* a full disk stays full for a while */
	REFUSED_INTERVAL_US = 60 * 1000 * 1000,
	KEY_SHOWN = 64, /* bytes of a key */
};

/* What a line is made from. */
struct told {
	const struct note *note;
	uint64_t count;      /* of the note and of those of its kind that were left out */
	uint32_t suppressed; /* how many were left out */
};

/* ---- keys --------------------------------------------------------------------------------------------------- */

struct shown_key {
	char text[4 * KEY_SHOWN + 4];
};

/* Keys are bytes: what is no plain character is written as \xNN, and so is the quote that ends them. */
static struct shown_key show(struct rpc_slice key)
{
	struct shown_key shown;
	size_t length = 0;
	for (size_t i = 0; i < key.size && i < KEY_SHOWN; i++) {
		bool plain = key.data[i] >= ' ' && key.data[i] < 0x7f && key.data[i] != '"' && key.data[i] != '\\';
		if (plain)
			length += (size_t)snprintf(shown.text + length, sizeof shown.text - length, "%c", key.data[i]);
		else
			length += (size_t)snprintf(shown.text + length, sizeof shown.text - length, "\\x%02x",
						   key.data[i]);
	}
	snprintf(shown.text + length, sizeof shown.text - length, "%s", key.size > KEY_SHOWN ? "..." : "");
	return shown;
}

/* ---- members and the ring ----------------------------------------------------------------------------------- */

static void say_member_up(const struct told *told)
{
	log_info("gossip: member up peer=%s id=%016" PRIx64 " incarnation=%" PRIu64, told->note->name, told->note->id,
		 told->note->count);
}

static void say_member_restarted(const struct told *told)
{
	log_info("gossip: member restarted peer=%s id=%016" PRIx64 " incarnation=%" PRIu64, told->note->name,
		 told->note->id, told->note->count);
}

static void say_member_unreachable(const struct told *told)
{
	log_warn("gossip: member unreachable peer=%s id=%016" PRIx64 "%s", told->note->name, told->note->id,
		 told->note->count == 0 ? " (not heard of since this node started)" : "");
}

static void say_member_down(const struct told *told)
{
	log_warn("gossip: member down peer=%s id=%016" PRIx64 " reporters=%u (%s%s)", told->note->name, told->note->id,
		 told->note->members, told->note->text != NULL ? told->note->text : "",
		 told->note->members > 2 ? " and others" : "");
}

static void say_joined(const struct told *told)
{
	log_info("gossip: joined cluster=%016" PRIx64, told->note->id);
}

static void say_ring_installed(const struct told *told)
{
	log_info("gossip: ring installed epoch=%" PRIu64 " hash=%016" PRIx64 " members=%u partitions=%u",
		 told->note->count, told->note->hash, told->note->members, told->note->partitions);
}

static void say_removed(const struct told *told)
{
	log_warn("gossip: this node is no member of the cluster any more epoch=%" PRIu64
		 ": others own its data, so it serves no client and can be stopped",
		 told->note->count);
}

static void say_refused(const struct told *told)
{
	static const char *const texts[NOTE_KIND_COUNT] = {
		[NOTE_FOREIGN] =
			"refused messages from a node of another cluster; check the seeds and addresses of both",
		[NOTE_MALFORMED] = "ignored malformed gossip; check that all nodes run compatible versions",
		[NOTE_CONFLICT] = "rejected a conflicting ring document (same epoch, different contents); check for "
				  "forced ring changes",
		[NOTE_NAMESAKE] = "a node that is no member has the name or address of one; was its data directory "
				  "lost? Restore it",
		[NOTE_IMPOSTOR] = "another node goes by the id of this one; is its data directory a copy?",
		[NOTE_WENT_BACK] =
			"other nodes remember a start of this node that its data directory does not know: the "
			"directory was "
			"restored from an older copy, or another process uses a copy of it. Writes acknowledged since "
			"may be "
			"missing here, so reads do not count this node's answers. Get every key at r=N, which brings "
			"back "
			"what is missing (kvctl export --r), then start this node once with --accept-restored",
		[NOTE_DISPLACED] =
			"another process goes by this node's id and has the newer directory, or was there first: "
			"this node no longer serves clients. Stop it for good if its directory is a copy; to "
			"keep this one, stop the other and start this one again",
		[NOTE_FORGOTTEN] = "forgot nodes that are not members and were silent for a minute",
		[NOTE_OVERFLOW] = "ignored a node: gossip already knows as many nodes as a cluster may have",
		[NOTE_RING_NOT_STORED] = "did not install a ring document because it could not be written to disk; "
					 "check the data directory",
	};
	log_warn("gossip: %s count=%" PRIu64, texts[told->note->kind], told->count);
}

static void say_ring_refused(const struct told *told)
{
	log_warn("gossip: refused a ring document from=%s id=%016" PRIx64 " why=\"%.300s\" count=%" PRIu64,
		 told->note->name != NULL ? told->note->name : "unknown", told->note->id,
		 told->note->text != NULL ? told->note->text : "no memory to say", told->count);
}

static const char *detail(const struct note *note)
{
	return note->text != NULL ? note->text : "no detail";
}

static const char *change_of(const struct note *note)
{
	return note->name != NULL ? note->name : "no memory to say";
}

static void say_autoscale_proposes(const struct told *told)
{
	log_info("autoscale: proposes change=\"%s\" epoch=%" PRIu64
		 " why=\"%.400s\"; `kvctl cluster` makes it, nothing else does",
		 change_of(told->note), told->note->count, detail(told->note));
}

static void say_autoscale_applies(const struct told *told)
{
	log_info("autoscale: changes the members change=\"%s\" epoch=%" PRIu64 " why=\"%.400s\"", change_of(told->note),
		 told->note->count, detail(told->note));
}

static void say_autoscale_cannot(const struct told *told)
{
	log_warn("autoscale: cannot change the members change=\"%s\" epoch=%" PRIu64
		 " why=\"%.700s\"; it looks again after its rest",
		 change_of(told->note), told->note->count, detail(told->note));
}

/* ---- requests ----------------------------------------------------------------------------------------------- */

static void say_slow(const struct told *told)
{
	log_warn("coordinator: slow request method=%s ms=%" PRIu64 " trace=%016" PRIx64 " suppressed=%u",
		 codec_method_name((enum method)told->note->method), told->note->count / 1000, told->note->id,
		 told->suppressed);
}

static const char *overload_text(const struct note *note)
{
	return note->text != NULL ? note->text : "resource exhausted";
}

static void say_overload(const struct told *told)
{
	log_warn("coordinator: overload refused=%" PRIu64 " suppressed=%u why=\"%.200s\"", told->count,
		 told->suppressed, overload_text(told->note));
}

static void say_large_value(const struct told *told)
{
	log_warn("coordinator: large value key=\"%s\" bytes=%" PRIu64 " warn_above=%d limit=%d suppressed=%u; large "
		 "values delay others, split them",
		 show(told->note->key).text, told->note->count, LIMIT_VALUE_WARN_SIZE, LIMIT_VALUE_SIZE,
		 told->suppressed);
}

static void say_many_siblings(const struct told *told)
{
	log_warn("coordinator: many siblings key=\"%s\" siblings=%" PRIu64 " warn_above=%d limit=%d suppressed=%u; put "
		 "with the context of a get to resolve them",
		 show(told->note->key).text, told->note->count, LIMIT_SIBLINGS_WARN, LIMIT_SIBLINGS, told->suppressed);
}

static void say_clash(const struct told *told)
{
	log_error(
		"%s: one version stands for two writes times=%" PRIu64
		"; both values are kept as siblings. A node has used a version twice: is a data directory in use that "
		"was restored or copied? Stop that node and tell the developers",
		told->note->name, told->count);
}

/* ---- the disk ----------------------------------------------------------------------------------------------- */

static void say_store_failed(const struct told *told)
{
	log_error("replica: reads or writes failed shard=%u times=%" PRIu64 " why=\"%.900s\"", told->note->shard,
		  told->count, detail(told->note));
}

static void say_job_failed(const struct told *told)
{
	log_error("replica: flush or compaction failed shard=%u times=%" PRIu64
		  " why=\"%.900s\"; it is tried again, the data is safe, and writes stop when memory for them is full",
		  told->note->shard, told->count, detail(told->note));
}

static void say_quarantined(const struct told *told)
{
	if (told->note->count == 0)
		log_info("replica: no partition is quarantined any more shard=%u", told->note->shard);
	else
		log_error("replica: data is damaged shard=%u quarantined_partitions=%" PRIu64
			  " why=\"%.900s\"; this node answers error for them, the other replicas serve them, and "
			  "everything else goes on; `kvengine release --help` says how to end it",
			  told->note->shard, told->note->count, detail(told->note));
}

static void say_log_full(const struct told *told)
{
	log_error("replica: no %s for the log shard=%u suppressed=%u; writes are refused until there is, reads go on",
		  told->note->error == -ENOSPC ? "space" : "memory", told->note->shard, told->suppressed);
}

static void say_log_failed(const struct told *told)
{
	log_error(
		"replica: log failed shard=%u error=\"%s\" why=\"%.900s\"; its unacknowledged writes are in doubt and "
		"it answers nothing more: check the disk and restart the node",
		told->note->shard, strerror(-told->note->error), detail(told->note));
}

/* ---- a ring that changes ------------------------------------------------------------------------------------- */

static void say_copy_begun(const struct told *told)
{
	log_info("upkeep: partitions are copied to this node epoch=%" PRIu64 " missing=%u of=%u", told->note->id,
		 told->note->partitions, told->note->members);
}

static void say_copy_waits(const struct told *told)
{
	log_warn("upkeep: the copy of partitions to this node waits epoch=%" PRIu64
		 " missing=%u why=\"%.300s\"; nothing is lost, and it goes on by itself",
		 told->note->id, told->note->partitions, detail(told->note));
}

static void say_copy_done(const struct told *told)
{
	log_info("upkeep: every partition that the ring gives to this node is here epoch=%" PRIu64
		 " partitions=%u bytes=%" PRIu64,
		 told->note->id, told->note->partitions, told->note->count);
}

static void say_dropped(const struct told *told)
{
	log_info("upkeep: deleted partitions that other nodes own now shard=%u partitions=%" PRIu64, told->note->shard,
		 told->count);
}

/* ---- events ------------------------------------------------------------------------------------------------- */

static struct node_event member_event(const struct told *told)
{
	const char *state = told->note->kind == NOTE_MEMBER_UNREACHABLE ? "unreachable"
			    : told->note->kind == NOTE_MEMBER_DOWN      ? "down"
									: "up";
	return (struct node_event){
		.type = NODE_EVENT_MEMBER_CHANGED, .id = told->note->id, .name = told->note->name, .state = state};
}

static struct node_event ring_event(const struct told *told)
{
	return (struct node_event){.type = NODE_EVENT_RING_CHANGED,
				   .cluster_id = told->note->id,
				   .count = told->note->count,
				   .id = told->note->hash};
}

static struct node_event autoscale_event(const struct told *told)
{
	return (struct node_event){.type = NODE_EVENT_AUTOSCALE,
				   .id = told->note->id,
				   .name = change_of(told->note),
				   .state = told->note->kind == NOTE_AUTOSCALE_APPLIES    ? "applied"
					    : told->note->kind == NOTE_AUTOSCALE_PROPOSES ? "proposed"
											  : "impossible",
				   .text = detail(told->note)};
}

static struct node_event slow_event(const struct told *told)
{
	return (struct node_event){.type = NODE_EVENT_SLOW_REQUEST,
				   .name = codec_method_name((enum method)told->note->method),
				   .count = told->note->count,
				   .id = told->note->id};
}

static struct node_event overload_event(const struct told *told)
{
	return (struct node_event){
		.type = NODE_EVENT_OVERLOAD, .name = overload_text(told->note), .count = told->count};
}

/* ---- all ---------------------------------------------------------------------------------------------------- */

static const struct {
	void (*say)(const struct told *);
	uint64_t interval_us;                            /* 0: each is told */
	struct node_event (*event)(const struct told *); /* NULL: only a line of the log */
} kinds[NOTE_KIND_COUNT] = {
	[NOTE_MEMBER_UP] = {say_member_up, 0, member_event},
	[NOTE_MEMBER_RESTARTED] = {say_member_restarted, 0, member_event},
	[NOTE_MEMBER_UNREACHABLE] = {say_member_unreachable, 0, member_event},
	[NOTE_MEMBER_DOWN] = {say_member_down, 0, member_event},
	[NOTE_JOINED] = {say_joined, 0},
	[NOTE_RING_INSTALLED] = {say_ring_installed, 0, ring_event},
	[NOTE_REMOVED] = {say_removed, 0, NULL},
	[NOTE_AUTOSCALE_PROPOSES] = {say_autoscale_proposes, 0, autoscale_event},
	[NOTE_AUTOSCALE_APPLIES] = {say_autoscale_applies, 0, autoscale_event},
	[NOTE_AUTOSCALE_CANNOT] = {say_autoscale_cannot, 0, autoscale_event},
	[NOTE_FOREIGN] = {say_refused, REFUSED_INTERVAL_US},
	[NOTE_MALFORMED] = {say_refused, REFUSED_INTERVAL_US},
	[NOTE_CONFLICT] = {say_refused, REFUSED_INTERVAL_US},
	[NOTE_NAMESAKE] = {say_refused, REFUSED_INTERVAL_US},
	[NOTE_IMPOSTOR] = {say_refused, REFUSED_INTERVAL_US},
	[NOTE_FORGOTTEN] = {say_refused, REFUSED_INTERVAL_US},
	[NOTE_DISPLACED] = {say_refused, REFUSED_INTERVAL_US},
	[NOTE_WENT_BACK] = {say_refused, REFUSED_INTERVAL_US},
	[NOTE_OVERFLOW] = {say_refused, REFUSED_INTERVAL_US},
	[NOTE_RING_NOT_STORED] = {say_refused, REFUSED_INTERVAL_US},
	[NOTE_RING_REFUSED] = {say_ring_refused, REFUSED_INTERVAL_US},
	[NOTE_SLOW_REQUEST] = {say_slow, REQUEST_INTERVAL_US, slow_event},
	[NOTE_OVERLOAD] = {say_overload, REQUEST_INTERVAL_US, overload_event},
	[NOTE_LARGE_VALUE] = {say_large_value, REQUEST_INTERVAL_US},
	[NOTE_MANY_SIBLINGS] = {say_many_siblings, REQUEST_INTERVAL_US},
	[NOTE_CLASH] = {say_clash, REQUEST_INTERVAL_US},
	[NOTE_STORE_FAILED] = {say_store_failed, DISK_INTERVAL_US},
	[NOTE_JOB_FAILED] = {say_job_failed, DISK_INTERVAL_US},
	[NOTE_QUARANTINED] = {say_quarantined, 0},
	[NOTE_LOG_FULL] = {say_log_full, DISK_INTERVAL_US},
	[NOTE_LOG_FAILED] = {say_log_failed, 0},
	[NOTE_COPY_BEGUN] = {say_copy_begun, 0},
	[NOTE_COPY_WAITS] = {say_copy_waits, DISK_INTERVAL_US},
	[NOTE_COPY_REFUSED] = {say_copy_waits, DISK_INTERVAL_US},
	[NOTE_COPY_DONE] = {say_copy_done, 0},
	[NOTE_DROPPED] = {say_dropped, REQUEST_INTERVAL_US},
};

bool notes_tell(struct notes *self, const struct note *note, uint64_t now_us, struct node_event *event_out)
{
	struct told told = {.note = note, .count = note->count};
	assert(note->kind < NOTE_KIND_COUNT);
	uint64_t *held = &self->kinds[note->kind].held;
	if (!log_limit_pass(&self->kinds[note->kind].limit, now_us, kinds[note->kind].interval_us, &told.suppressed)) {
		*held += note->count;
		return false;
	}
	told.count += *held;
	*held = 0;
	kinds[note->kind].say(&told);
	if (kinds[note->kind].event == NULL)
		return false;
	*event_out = kinds[note->kind].event(&told);
	return true;
}
