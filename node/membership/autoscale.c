/* SPDX-License-Identifier: Apache-2.0 */
#include "node/membership/autoscale.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define UNKNOWN UINT64_MAX /* nothing was heard yet */

enum {
	SCALE = 1024,         /* of smoothed figures */
	USED_MAX = 10 * 1000, /* permille; a figure above it says no more, made up or not */
	UNEVEN_PERCENT = 150, /* of the middle member */
	STEP_PARTS = 10,      /* a weight loses a tenth at once */
	SMOOTH_PARTS = 2,     /* hold_us is so many times the time constant */
};

void autoscale_init(struct autoscale *self, const struct autoscale_settings *settings)
{
	assert(settings->mode == AUTOSCALE_OFF || settings->low_percent < settings->high_percent);
	*self = (struct autoscale){.settings = *settings};
}

void autoscale_fini(struct autoscale *self)
{
	free(self->used);
	free(self->sorted);
	free(self->rack_counts);
	self->used = NULL;
	self->sorted = NULL;
	self->rack_counts = NULL;
	self->ring_hash = 0;
}

/* ---- history -------------------------------------------------------------------------------------------------- */

static int compare_racks(const void *a, const void *b)
{
	const struct ring_member *const *left = a, *const *right = b;
	int order = strcmp((*left)->datacenter, (*right)->datacenter);

	return order != 0 ? order : strcmp((*left)->rack, (*right)->rack);
}

/* How many active members stand in the rack of each. */
static void count_racks(const struct ring_document *document, const struct ring_member **sorted, uint32_t *counts)
{
	uint32_t count = ring_member_count(document);

	for (uint32_t i = 0; i < count; i++)
		sorted[i] = ring_member(document, i);
	qsort(sorted, count, sizeof *sorted, compare_racks);
	for (uint32_t first = 0, end; first < count; first = end) {
		uint32_t active = 0;

		for (end = first; end < count && compare_racks(&sorted[first], &sorted[end]) == 0; end++)
			active += sorted[end]->state == RING_MEMBER_ACTIVE;
		for (uint32_t i = first; i < end; i++)
			counts[ring_member_find(document, sorted[i]->id)] = active;
	}
}

static bool make_room(struct autoscale *self, const struct ring_document *document)
{
	uint32_t count = ring_member_count(document);
	const struct ring_member **sorted = calloc(count, sizeof *sorted);

	self->used = calloc(count, sizeof *self->used);
	self->sorted = calloc(count, sizeof *self->sorted);
	self->rack_counts = calloc(count, sizeof *self->rack_counts);
	bool complete = sorted != NULL && self->used != NULL && self->sorted != NULL && self->rack_counts != NULL;
	if (complete)
		count_racks(document, sorted, self->rack_counts);
	for (uint32_t i = 0; complete && i < count; i++)
		self->used[i][AUTOSCALE_LOAD] = self->used[i][AUTOSCALE_DISK] = UNKNOWN;
	free(sorted);
	return complete;
}

/* Another ring, by whoever wanted it: all figures are about to change, so the history begins anew. False: out of memory. */
static bool follow(struct autoscale *self, const struct ring_document *document, uint64_t now_us)
{
	if (self->ring_hash == ring_hash(document))
		return true;
	autoscale_fini(self);
	memset(self->situations, 0, sizeof self->situations);
	if (!make_room(self, document))
		return false;
	self->ring_hash = ring_hash(document);
	self->rest_until_us = now_us + self->settings.rest_us;
	self->seen_us = now_us;
	return true;
}

static uint64_t used_permille(const struct autoscale *self, const struct autoscale_member *member,
			      enum autoscale_resource resource)
{
	uint64_t room = self->settings.disk_bytes / RING_WEIGHT_DEFAULT * member->own_weight / 1000;
	uint64_t used = member->load_permille;

	if (resource == AUTOSCALE_DISK)
		used = room > 0 ? member->disk_bytes / room : 0;
	return used < USED_MAX ? used : USED_MAX;
}

/* Exponentially; the first sample counts as it is. */
static void smooth(struct autoscale *self, uint32_t member_count, const struct autoscale_member *members,
		   uint64_t now_us)
{
	uint64_t passed = (now_us - self->seen_us) / 1000, constant = self->settings.hold_us / 1000 / SMOOTH_PARTS;

	for (uint32_t i = 0; i < member_count; i++)
		for (enum autoscale_resource resource = 0; members[i].sound && resource < AUTOSCALE_RESOURCES;
		     resource++) {
			uint64_t sample = used_permille(self, &members[i], resource) * SCALE;
			uint64_t *used = &self->used[i][resource];

			*used = *used == UNKNOWN || passed + constant == 0
					? sample
					: (*used * constant + sample * passed) / (passed + constant);
		}
	self->seen_us = now_us;
}

/* A2 */
static bool is_quiet(const struct ring_document *document, const struct autoscale_member *members)
{
	if (ring_transition(document) != RING_STABLE)
		return false;
	for (uint32_t i = 0; i < ring_member_count(document); i++)
		if (!members[i].sound || ring_member(document, i)->state == RING_MEMBER_LEAVING)
			return false;
	return true;
}

/* ---- one datacenter --------------------------------------------------------------------------------------------- */

struct crowd {
	struct autoscale *self;
	const struct ring_document *document;
	const struct autoscale_member *members;
	uint32_t datacenter, active, replica_count;
	uint64_t weight; /* of the active ones */
	/* permille; more than half have as much as lower or more, and more than half as much as upper or less */
	uint64_t lower[AUTOSCALE_RESOURCES], upper[AUTOSCALE_RESOURCES], most[AUTOSCALE_RESOURCES];
};

static bool is_here(const struct crowd *crowd, uint32_t member, enum ring_member_state state)
{
	return ring_member(crowd->document, member)->state == state &&
	       ring_member_datacenter(crowd->document, member) == crowd->datacenter;
}

static int compare(const void *a, const void *b)
{
	const uint64_t *left = a, *right = b;

	return (*left > *right) - (*left < *right);
}

static uint64_t used_by(const struct crowd *crowd, uint32_t member, enum autoscale_resource resource)
{
	return crowd->self->used[member][resource] / SCALE;
}

static void count_resource(struct crowd *crowd, enum autoscale_resource resource)
{
	uint64_t *sorted = crowd->self->sorted;
	uint32_t count = 0;

	for (uint32_t i = 0; i < ring_member_count(crowd->document); i++)
		if (is_here(crowd, i, RING_MEMBER_ACTIVE))
			sorted[count++] = used_by(crowd, i, resource);
	qsort(sorted, count, sizeof *sorted, compare);
	crowd->lower[resource] = sorted[(count - 1) / 2];
	crowd->upper[resource] = sorted[count / 2];
	crowd->most[resource] = sorted[count - 1];
}

/* False: it has no active member. */
static bool count_crowd(struct autoscale *self, const struct ring_document *document,
			const struct autoscale_member *members, uint32_t datacenter, struct crowd *out)
{
	*out = (struct crowd){.self = self,
			      .document = document,
			      .members = members,
			      .datacenter = datacenter,
			      .replica_count = ring_datacenter(document, datacenter)->replica_count};
	for (uint32_t i = 0; i < ring_member_count(document); i++) {
		if (!is_here(out, i, RING_MEMBER_ACTIVE))
			continue;
		out->active++;
		out->weight += ring_member(document, i)->weight;
	}
	for (enum autoscale_resource resource = 0; out->active > 0 && resource < AUTOSCALE_RESOURCES; resource++)
		count_resource(out, resource);
	return out->active > 0;
}

static uint64_t high(const struct crowd *crowd)
{
	return crowd->self->settings.high_percent * UINT64_C(10);
}

/* ---- the three conditions --------------------------------------------------------------------------------------- */

/* What is found: the member to change, and the resource that says so. */
struct finding {
	uint32_t member, weight; /* weight: REWEIGHT */
	enum autoscale_resource resource;
};

/* The member on standby whose rack has the fewest active ones, then the heaviest. */
static bool find_standby(const struct crowd *crowd, uint32_t *out)
{
	uint32_t best_rack = UINT32_MAX, best_weight = 0;

	for (uint32_t i = 0; i < ring_member_count(crowd->document); i++) {
		uint32_t weight = ring_member(crowd->document, i)->weight, rack;

		if (!is_here(crowd, i, RING_MEMBER_STANDBY))
			continue;
		rack = crowd->self->rack_counts[i];
		if (rack > best_rack || (rack == best_rack && weight <= best_weight))
			continue;
		best_rack = rack;
		best_weight = weight;
		*out = i;
	}
	return best_rack != UINT32_MAX;
}

static bool is_too_few(const struct crowd *crowd, struct finding *out)
{
	if (crowd->active >= crowd->self->settings.active_max)
		return false;
	for (out->resource = 0; out->resource < AUTOSCALE_RESOURCES; out->resource++)
		if (crowd->lower[out->resource] > high(crowd))
			return find_standby(crowd, &out->member);
	return false;
}

/* A weight above the node's own, or below half of it, is an operator's: it stays. 0: it cannot be less. */
static uint32_t less_weight(uint32_t weight, uint32_t own)
{
	uint32_t step = weight / STEP_PARTS > 0 ? weight / STEP_PARTS : 1, least = own / 2 + own % 2;

	if (weight > own || weight <= least)
		return 0;
	return weight - step > least ? weight - step : least;
}

/* The one that is used most of those that can have less. With as few members as replicas each has everything, whatever its weight. */
static bool is_uneven(const struct crowd *crowd, struct finding *out)
{
	uint64_t most = 0;

	for (uint32_t i = 0; i < ring_member_count(crowd->document); i++) {
		uint32_t weight = less_weight(ring_member(crowd->document, i)->weight, crowd->members[i].own_weight);

		if (weight == 0 || crowd->active <= crowd->replica_count || !is_here(crowd, i, RING_MEMBER_ACTIVE))
			continue;
		for (enum autoscale_resource resource = 0; resource < AUTOSCALE_RESOURCES; resource++) {
			uint64_t used = used_by(crowd, i, resource);

			if (used <= most || used <= high(crowd) ||
			    used * 100 <= crowd->lower[resource] * UNEVEN_PERCENT)
				continue;
			most = used;
			*out = (struct finding){i, weight, resource};
		}
	}
	return most > 0;
}

/* The active member whose rack has most of them, then the one used least. */
static uint32_t find_idle(const struct crowd *crowd)
{
	uint32_t best = 0, best_rack = 0;

	for (uint32_t i = 0; i < ring_member_count(crowd->document); i++) {
		uint32_t rack;

		if (!is_here(crowd, i, RING_MEMBER_ACTIVE))
			continue;
		rack = crowd->self->rack_counts[i];
		if (rack < best_rack ||
		    (rack == best_rack && used_by(crowd, i, AUTOSCALE_LOAD) >= used_by(crowd, best, AUTOSCALE_LOAD)))
			continue;
		best = i;
		best_rack = rack;
	}
	return best;
}

/* What was used so far, once the others have the share of the one that goes. */
static uint64_t without(const struct crowd *crowd, uint32_t member, uint64_t used)
{
	uint64_t weight = ring_member(crowd->document, member)->weight;

	assert(weight < crowd->weight);
	return used * crowd->weight / (crowd->weight - weight);
}

/* A1 */
static bool is_too_many(const struct crowd *crowd, struct finding *out)
{
	uint64_t low = crowd->self->settings.low_percent * UINT64_C(10);

	if (crowd->active <= crowd->replica_count || crowd->active <= crowd->self->settings.active_min)
		return false;
	*out = (struct finding){.member = find_idle(crowd)};
	for (enum autoscale_resource resource = 0; resource < AUTOSCALE_RESOURCES; resource++)
		if (without(crowd, out->member, crowd->upper[resource]) >= low ||
		    without(crowd, out->member, crowd->most[resource]) > high(crowd))
			return false;
	return true;
}

static bool find(const struct crowd *crowd, enum autoscale_situation situation, struct finding *out)
{
	*out = (struct finding){0};
	switch (situation) {
	case AUTOSCALE_TOO_FEW:
		return is_too_few(crowd, out);
	case AUTOSCALE_UNEVEN:
		return is_uneven(crowd, out);
	case AUTOSCALE_TOO_MANY:
		return is_too_many(crowd, out);
	case AUTOSCALE_SITUATIONS:
		break;
	}
	return false;
}

/* ---- deciding --------------------------------------------------------------------------------------------------- */

static uint64_t percent(uint64_t permille)
{
	return (permille + 5) / 10;
}

static const char *name_of(enum autoscale_resource resource)
{
	return resource == AUTOSCALE_DISK ? "of their room on disk" : "load";
}

static void explain_idle(const struct crowd *crowd, const struct finding *finding, uint64_t held_s, char *out,
			 size_t size)
{
	const struct autoscale_settings *settings = &crowd->self->settings;
	int length = snprintf(out, size,
			      "without it half of the other %u active members of %s would be at %" PRIu64 " %% load",
			      crowd->active - 1, ring_datacenter(crowd->document, crowd->datacenter)->name,
			      percent(without(crowd, finding->member, crowd->upper[AUTOSCALE_LOAD])));

	if (settings->disk_bytes > 0)
		length += snprintf(out + length, size - (size_t)length, " and %" PRIu64 " %% of their room on disk",
				   percent(without(crowd, finding->member, crowd->upper[AUTOSCALE_DISK])));
	(void)snprintf(out + length, size - (size_t)length, " or less, below the mark of %u %%, for %" PRIu64 " s now",
		       settings->low_percent, held_s);
}

static void explain(const struct crowd *crowd, enum autoscale_situation situation, const struct finding *finding,
		    uint64_t held_s, char *out, size_t size)
{
	const char *datacenter = ring_datacenter(crowd->document, crowd->datacenter)->name;
	uint32_t mark = crowd->self->settings.high_percent;
	uint64_t middle = percent(crowd->lower[finding->resource]);

	if (situation == AUTOSCALE_TOO_MANY)
		explain_idle(crowd, finding, held_s, out, size);
	else if (situation == AUTOSCALE_TOO_FEW)
		(void)snprintf(out, size,
			       "more than half of the %u active members of %s are at %" PRIu64
			       " %% %s or more, above the mark of %u %%, for %" PRIu64 " s now",
			       crowd->active, datacenter, middle, name_of(finding->resource), mark, held_s);
	else
		(void)snprintf(out, size,
			       "it is at %" PRIu64 " %% %s, above the mark of %u %%, while half of the %u "
			       "active members of %s are at %" PRIu64 " %% or less, for %" PRIu64 " s now",
			       percent(used_by(crowd, finding->member, finding->resource)),
			       finding->resource == AUTOSCALE_DISK ? "of its room on disk" : "load", mark,
			       crowd->active, datacenter, middle, held_s);
}

static void decide(const struct crowd *crowd, enum autoscale_situation situation, const struct finding *finding,
		   uint64_t held_us, struct autoscale_decision *out)
{
	static const enum change_kind kinds[AUTOSCALE_SITUATIONS] = {CHANGE_JOIN, CHANGE_REWEIGHT, CHANGE_DRAIN};
	const struct ring_member *member = ring_member(crowd->document, finding->member);

	*out = (struct autoscale_decision){.member_id = member->id,
					   .change = {.kind = kinds[situation], .weight = finding->weight}};
	memcpy(out->change.node, member->name, sizeof out->change.node);
	if (situation == AUTOSCALE_UNEVEN)
		snprintf(out->what, sizeof out->what, "weight %s %u (now %u)", member->name, finding->weight,
			 member->weight);
	else
		snprintf(out->what, sizeof out->what, "%s %s", situation == AUTOSCALE_TOO_FEW ? "join" : "drain",
			 member->name);
	explain(crowd, situation, finding, held_us / 1000000, out->why, sizeof out->why);
}

/* Members come soon, and go late: a load that swings keeps them. */
static uint64_t must_hold_us(const struct autoscale_settings *settings, enum autoscale_situation situation)
{
	return situation == AUTOSCALE_TOO_FEW || settings->hold_us > settings->rest_us ? settings->hold_us
										       : settings->rest_us;
}

/* Whether the condition holds, and has for long. */
static bool judge(const struct crowd *crowd, enum autoscale_situation situation, bool may_decide, uint64_t now_us,
		  struct autoscale_decision *out)
{
	struct autoscale *self = crowd->self;
	struct finding finding;
	bool holds = find(crowd, situation, &finding);
	uint64_t subject = situation == AUTOSCALE_UNEVEN ? ring_member(crowd->document, finding.member)->id : 1;
	bool *told = &self->situations[crowd->datacenter][situation].told;
	uint64_t *since_us = &self->situations[crowd->datacenter][situation].since_us;

	if (!holds || self->situations[crowd->datacenter][situation].subject != subject) {
		self->situations[crowd->datacenter][situation].subject = holds ? subject : 0;
		*since_us = now_us;
		*told = false;
	}
	if (!holds || !may_decide || now_us < *since_us + must_hold_us(&self->settings, situation) ||
	    now_us < self->rest_until_us || (*told && self->settings.mode == AUTOSCALE_PROPOSE))
		return false;
	*told = true;
	self->rest_until_us = now_us + self->settings.rest_us;
	decide(crowd, situation, &finding, now_us - *since_us, out);
	return true;
}

bool autoscale_look(struct autoscale *self, const struct ring_document *document,
		    const struct autoscale_member *members, bool may_decide, uint64_t now_us,
		    struct autoscale_decision *out)
{
	bool decided = false;

	if (!follow(self, document, now_us))
		return false;
	smooth(self, ring_member_count(document), members, now_us);
	if (!is_quiet(document, members)) {
		memset(self->situations, 0, sizeof self->situations);
		return false;
	}
	for (uint32_t i = 0; i < ring_datacenter_count(document); i++) {
		struct crowd crowd;

		if (!count_crowd(self, document, members, i, &crowd))
			continue;
		for (enum autoscale_situation situation = 0; situation < AUTOSCALE_SITUATIONS; situation++)
			decided |= judge(&crowd, situation, may_decide && !decided, now_us, out);
	}
	return decided;
}
