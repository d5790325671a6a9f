/* SPDX-License-Identifier: Apache-2.0 */
/* The algebra of objects: put and merge (Dotted Version Vectors, 2012; Dynamo 4.4). */
#include "node/object/object.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <xxhash.h>
#include "rpc/operation_id.h"

static bool object_covers(const struct object *object, struct dot dot)
{
	if (version_covers(&object->vector, dot))
		return true;
	for (uint32_t i = 0; i < object->seen_count; i++)
		if (dot_compare(object->seen[i], dot) == 0)
			return true;
	return false;
}

/* The union of two sorted rows of dots, without those that the vector covers. */
static int unite_seen(const struct dot *a, uint32_t a_count, const struct dot *b, uint32_t b_count, struct arena *arena,
		      struct object *out)
{
	uint32_t i = 0, j = 0;

	out->seen_count = 0;
	if (a_count + b_count == 0)
		return 0;
	out->seen = rpc_arena_alloc(arena, (a_count + b_count) * sizeof *out->seen);
	if (out->seen == NULL)
		return -ENOMEM;
	while (i < a_count || j < b_count) {
		int order = i == a_count ? 1 : j == b_count ? -1 : dot_compare(a[i], b[j]);
		struct dot dot = order <= 0 ? a[i] : b[j];

		i += order <= 0;
		j += order >= 0;
		if (!version_covers(&out->vector, dot))
			out->seen[out->seen_count++] = dot;
	}
	assert(out->seen_count <= a_count + b_count);
	return 0;
}

static bool owns_sibling(const struct object *object, uint64_t actor)
{
	for (uint32_t i = 0; i < object->sibling_count; i++) {
		const struct sibling *sibling = &object->siblings[i];

		if (sibling->dot.actor == actor)
			return true;
		for (uint32_t j = 0; j < sibling->alias_count; j++)
			if (sibling->aliases[j].dot.actor == actor)
				return true;
	}
	return false;
}

/* Dynamo 4.4: past a threshold the oldest entry goes. Here never one that a live sibling needs (O3, O4). */
static uint32_t truncate_vector(struct object *object, uint32_t limit)
{
	struct version *vector = &object->vector;
	uint32_t dropped = 0;

	while (vector->count > limit) {
		uint32_t oldest = vector->count;

		for (uint32_t i = 0; i < vector->count; i++)
			if ((oldest == vector->count || vector->entries[i].last_ms < vector->entries[oldest].last_ms) &&
			    !owns_sibling(object, vector->entries[i].actor))
				oldest = i;
		if (oldest == vector->count)
			break;
		vector->count--;
		memmove(&vector->entries[oldest], &vector->entries[oldest + 1],
			(vector->count - oldest) * sizeof *vector->entries);
		dropped++;
	}
	return dropped;
}

/* ---- merge -------------------------------------------------------------------------------------------------- */

static bool has_aliases(const struct object *object)
{
	for (uint32_t i = 0; i < object->sibling_count; i++)
		if (object->siblings[i].alias_count)
			return true;
	return false;
}

static void sort_siblings(struct sibling *siblings, uint32_t count)
{
	for (uint32_t i = 1; i < count; i++) {
		struct sibling moving = siblings[i];
		uint32_t j = i;

		for (; j > 0 && dot_compare(siblings[j - 1].dot, moving.dot) > 0; j--)
			siblings[j] = siblings[j - 1];
		siblings[j] = moving;
	}
}

/* One sibling per dot, so that each dot lives or dies by itself. */
static int split_aliases(const struct object *object, struct arena *arena, struct object *out)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < object->sibling_count; i++)
		count += 1 + object->siblings[i].alias_count;
	*out = *object;
	out->sibling_count = 0;
	out->siblings = rpc_arena_alloc(arena, (count + 1) * sizeof *out->siblings);
	if (out->siblings == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < object->sibling_count; i++) {
		struct sibling single = object->siblings[i];

		single.alias_count = 0;
		single.aliases = NULL;
		assert(single.repeated || object->siblings[i].alias_count == 0);
		out->siblings[out->sibling_count++] = single;
		for (uint32_t j = 0; j < object->siblings[i].alias_count; j++) {
			single.dot = object->siblings[i].aliases[j].dot;
			single.written_ms = object->siblings[i].aliases[j].written_ms;
			out->siblings[out->sibling_count++] = single;
		}
	}
	assert(out->sibling_count == count);
	sort_siblings(out->siblings, out->sibling_count);
	return 0;
}

static int add_alias(struct sibling *sibling, const struct sibling *again, uint32_t room, struct arena *arena)
{
	if (sibling->aliases == NULL) {
		sibling->aliases = rpc_arena_alloc(arena, room * sizeof *sibling->aliases);
		if (sibling->aliases == NULL)
			return -ENOMEM;
	}
	sibling->aliases[sibling->alias_count++] = (struct alias){again->dot, again->written_ms};
	return 0;
}

/* The opposite of split_aliases (O2). */
static int collapse_aliases(struct object *object, struct arena *arena)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < object->sibling_count; i++) {
		struct sibling *sibling = &object->siblings[i];
		uint32_t same = 0;

		while (same < kept && !sibling_same_operation(&object->siblings[same], sibling))
			same++;
		if (same == kept) {
			object->siblings[kept++] = *sibling;
			continue;
		}
		object->siblings[same].repeated = true;
		if (add_alias(&object->siblings[same], sibling, object->sibling_count - i, arena))
			return -ENOMEM;
	}
	object->sibling_count = kept;
	return 0;
}

/* What merging the siblings found. */
struct survivors {
	uint32_t only_b;  /* kept, of b alone */
	uint32_t clashes; /* equal dots of different operations */
	bool dropped_a;
	bool repeated_a;   /* b knows that an operation of a was repeated, and a did not */
	struct mark *gone; /* operations of dropped siblings, of either */
	uint32_t gone_count;
};

/* Damage: a dot that two operations share was issued twice. To keep one of them would lose the other for ever, as every
 * replica covers the dot. Each gets a dot of its own, made of what it is: so all replicas make the same one. */
static struct sibling with_own_dot(const struct sibling *sibling)
{
	const uint64_t what[] = {sibling->dot.actor, sibling->dot.counter, sibling->flags, sibling->expires_ms,
				 XXH3_64bits(sibling->value.data, sibling->value.size)};
	uint64_t seed = XXH3_64bits(sibling->operation_id, RPC_OPERATION_ID_SIZE);
	struct sibling renamed = *sibling;

	renamed.dot = (struct dot){XXH3_64bits_withSeed(what, sizeof(what), seed) | 1, 1};
	return renamed;
}

/* Is it live there, under the dot that a clash gave it? Then nobody has superseded it. */
static bool was_renamed(const struct object *there, const struct sibling *sibling)
{
	for (uint32_t i = 0; i < there->sibling_count; i++)
		if (sibling_same_operation(&there->siblings[i], sibling) &&
		    dot_compare(there->siblings[i].dot, with_own_dot(sibling).dot) == 0)
			return true;
	return false;
}

/* The sibling is dropped because the other object covers its dot: so its operation was superseded. */
static void bury(struct survivors *found, const struct sibling *sibling, const struct object *other)
{
	if (!was_renamed(other, sibling))
		found->gone[found->gone_count++] = sibling_mark(sibling);
}

/* sync(a, b): a dot that both have stays; one that only one has stays unless the other has seen it: then it was
 * superseded there. Siblings without aliases on both sides; in order of dots. */
static int merge_siblings(const struct object *a, const struct object *b, struct arena *arena, struct object *out,
			  struct survivors *found)
{
	uint32_t i = 0, j = 0, n = 0;
	uint32_t most = a->sibling_count + b->sibling_count;
	struct sibling *siblings = rpc_arena_alloc(arena, (most + 1) * sizeof *siblings);

	*found = (struct survivors){.gone = rpc_arena_alloc(arena, (most + 1) * sizeof(struct mark))};
	if (siblings == NULL || found->gone == NULL)
		return -ENOMEM;
	while (i < a->sibling_count || j < b->sibling_count) {
		int order = i == a->sibling_count   ? 1
			    : j == b->sibling_count ? -1
						    : dot_compare(a->siblings[i].dot, b->siblings[j].dot);

		if (order == 0 && !sibling_same_operation(&a->siblings[i], &b->siblings[j])) {
			siblings[n++] = with_own_dot(&a->siblings[i++]);
			siblings[n++] = with_own_dot(&b->siblings[j++]);
			found->clashes++;
		} else if (order == 0) {
			siblings[n] = a->siblings[i];
			siblings[n].repeated |= b->siblings[j].repeated;
			found->repeated_a |= siblings[n++].repeated != a->siblings[i++].repeated;
			j++;
		} else if (order < 0) {
			bool keep = !object_covers(b, a->siblings[i].dot);

			found->dropped_a |= !keep;
			if (keep)
				siblings[n++] = a->siblings[i];
			else
				bury(found, &a->siblings[i], b);
			i++;
		} else {
			if (!object_covers(a, b->siblings[j].dot)) {
				found->only_b++;
				siblings[n++] = b->siblings[j];
			} else {
				bury(found, &b->siblings[j], a);
			}
			j++;
		}
	}
	assert(n <= most);
	assert(found->only_b <= b->sibling_count);
	assert(found->gone_count <= most);
	out->siblings = siblings;
	out->sibling_count = n;
	return 0;
}

static void raise_entry(struct version *vector, struct dot dot, uint64_t now_ms)
{
	uint32_t i = 0;

	while (i < vector->count && vector->entries[i].actor < dot.actor)
		i++;
	if (i == vector->count || vector->entries[i].actor != dot.actor) {
		memmove(&vector->entries[i + 1], &vector->entries[i], (vector->count - i) * sizeof *vector->entries);
		vector->entries[i] = (struct version_entry){dot.actor, 0, 0};
		vector->count++;
	}
	if (dot.counter > vector->entries[i].counter)
		vector->entries[i].counter = dot.counter;
	if (now_ms > vector->entries[i].last_ms)
		vector->entries[i].last_ms = now_ms;
}

/* O3 for the dots that with_own_dot made. */
static int cover_own_dots(struct object *out, uint32_t clashes, struct arena *arena)
{
	struct version *vector = &out->vector;
	struct version_entry *entries = rpc_arena_alloc(arena, (vector->count + 2 * clashes + 1) * sizeof *entries);

	if (entries == NULL)
		return -ENOMEM;
	memcpy(entries, vector->entries, vector->count * sizeof *entries);
	vector->entries = entries;
	sort_siblings(out->siblings, out->sibling_count);
	for (uint32_t i = 0; i < out->sibling_count; i++)
		if (!version_covers(vector, out->siblings[i].dot))
			raise_entry(vector, out->siblings[i].dot, out->siblings[i].written_ms);
	return 0;
}

static bool has_duplicates(const struct object *object)
{
	for (uint32_t i = 1; i < object->sibling_count; i++)
		for (uint32_t j = 0; j < i; j++)
			if (sibling_same_operation(&object->siblings[i], &object->siblings[j]))
				return true;
	return false;
}

static bool has_sibling(const struct object *object, struct dot dot)
{
	for (uint32_t i = 0; i < object->sibling_count; i++)
		if (dot_compare(object->siblings[i].dot, dot) == 0)
			return true;
	return false;
}

/* O6: every sibling of an operation that was superseded, here or there, now or before, goes. */
static int drop_past(const struct object *a, const struct object *b, struct arena *arena, struct object *out,
		     struct survivors *found)
{
	struct past past, gone = past_of_marks(found->gone, found->gone_count);
	uint32_t kept = 0;

	if (past_unite(&a->past, &b->past, arena, &past) || past_unite(&past, &gone, arena, &out->past))
		return -ENOMEM;
	for (uint32_t i = 0; i < out->sibling_count; i++) {
		const struct sibling *sibling = &out->siblings[i];
		bool in_a = has_sibling(a, sibling->dot);

		if (!sibling_is_past(&out->past, sibling)) {
			out->siblings[kept++] = *sibling;
			continue;
		}
		found->dropped_a |= in_a;
		found->only_b -= !in_a;
		if (sibling->repeated && past_note_repeat(&out->past, sibling_mark(sibling), arena, &out->past))
			return -ENOMEM;
	}
	out->sibling_count = kept;
	past_bound(&out->past);
	return 0;
}

static int merge_all_siblings(const struct object *a, const struct object *b, struct arena *arena, struct object *out,
			      struct survivors *found)
{
	struct object split[2];
	bool aliases = has_aliases(a) || has_aliases(b);

	if (aliases) {
		if (split_aliases(a, arena, &split[0]) || split_aliases(b, arena, &split[1]))
			return -ENOMEM;
		a = &split[0];
		b = &split[1];
	}
	if (merge_siblings(a, b, arena, out, found) || (found->clashes && cover_own_dots(out, found->clashes, arena)) ||
	    drop_past(a, b, arena, out, found))
		return -ENOMEM;
	/* Each side is free of duplicates (O2): new ones take a sibling of b beside one of a. */
	if (aliases || (found->only_b > 0 && out->sibling_count > 1 && has_duplicates(out)))
		return collapse_aliases(out, arena);
	return 0;
}

static bool same_seen(const struct object *a, const struct object *b)
{
	if (a->seen_count != b->seen_count)
		return false;
	for (uint32_t i = 0; i < a->seen_count; i++)
		if (dot_compare(a->seen[i], b->seen[i]) != 0)
			return false;
	return true;
}

static bool is_empty(const struct object *object)
{
	return object->vector.count == 0 && object->seen_count == 0 && past_is_empty(&object->past);
}

static bool same_vector(const struct version *a, const struct version *b)
{
	if (a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++)
		if (a->entries[i].actor != b->entries[i].actor || a->entries[i].counter != b->entries[i].counter)
			return false;
	return true;
}

/* O4's exception. A replica that only ever merges keeps the entries which others truncate, and gets one more with every
 * crash of any of them; when the next would not decode any more, the oldest has to go here too. Which one does not
 * depend on the order of a and b. */
static bool bound_clock(struct object *out)
{
	uint32_t excess = out->seen_count > OBJECT_DOTS_MAX ? out->seen_count - OBJECT_DOTS_MAX : 0;

	if (excess > 0) { /* seen is NULL when there are none */
		out->seen += excess;
		out->seen_count -= excess;
	}
	return (truncate_vector(out, LIMIT_CLOCK_ENTRIES) > 0) | (excess > 0);
}

int object_merge(const struct object *a, const struct object *b, struct arena *arena, struct object *out,
		 bool *changed_out)
{
	bool changed;
	struct survivors found;

	if (is_empty(a) || is_empty(b)) {
		*changed_out = !is_empty(b);
		*out = is_empty(b) ? *a : *b;
		out->clash_count = 0;
		return 0;
	}
	*out = (struct object){0};
	if (version_merge(&a->vector, &b->vector, 0, arena, &out->vector, &changed) ||
	    unite_seen(a->seen, a->seen_count, b->seen, b->seen_count, arena, out) ||
	    merge_all_siblings(a, b, arena, out, &found))
		return -ENOMEM;
	if (bound_clock(out))
		changed = !same_vector(&a->vector, &out->vector);
	object_check(out);
	out->clash_count = found.clashes;
	*changed_out = changed || found.clashes > 0 || found.dropped_a || found.repeated_a || found.only_b > 0 ||
		       !same_seen(a, out) || !past_is_within(&out->past, &a->past);
	return 0;
}

/* ---- put ---------------------------------------------------------------------------------------------------- */

/* The client saw this operation, at whichever replica. */
static bool supersedes(const struct context *context, const struct sibling *sibling)
{
	if (context_covers(context, sibling->dot) || sibling_is_past(&context->past, sibling))
		return true;
	for (uint32_t i = 0; i < sibling->alias_count; i++)
		if (context_covers(context, sibling->aliases[i].dot))
			return true;
	return false;
}

static int replace_siblings(const struct object *old, const struct context *context, const struct sibling *sibling,
			    struct arena *arena, struct object *out)
{
	struct mark *gone = rpc_arena_alloc(arena, (old->sibling_count + 1) * sizeof *gone);
	uint32_t gone_count = 0;
	struct past past;

	out->sibling_count = 0;
	out->siblings = rpc_arena_alloc(arena, (old->sibling_count + 1) * sizeof *out->siblings);
	if (out->siblings == NULL || gone == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < old->sibling_count; i++)
		if (supersedes(context, &old->siblings[i]))
			gone[gone_count++] = sibling_mark(&old->siblings[i]);
		else
			out->siblings[out->sibling_count++] = old->siblings[i];
	assert(out->sibling_count + gone_count == old->sibling_count);
	out->siblings[out->sibling_count++] = *sibling;
	sort_siblings(out->siblings, out->sibling_count);
	struct past superseded = past_of_marks(gone, gone_count);
	if (past_unite(&old->past, &context->past, arena, &past) || past_unite(&past, &superseded, arena, &out->past))
		return -ENOMEM;
	past_bound(&out->past);
	return 0;
}

static const struct sibling *find_operation(const struct object *object, const struct sibling *sibling)
{
	for (uint32_t i = 0; i < object->sibling_count; i++)
		if (sibling_same_operation(&object->siblings[i], sibling))
			return &object->siblings[i];
	return NULL;
}

/* The context's dots, oldest first, as a sorted row without doubles. */
static uint32_t sort_dots(const struct context *context, struct dot sorted[CONTEXT_DOTS_MAX])
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < context->dot_count; i++) {
		uint32_t at = count;

		while (at > 0 && dot_compare(sorted[at - 1], context->dots[i]) > 0)
			at--;
		if (at > 0 && dot_compare(sorted[at - 1], context->dots[i]) == 0)
			continue;
		memmove(&sorted[at + 1], &sorted[at], (count - at) * sizeof *sorted);
		sorted[at] = context->dots[i];
		count++;
	}
	return count;
}

static int put_seen(const struct object *old, const struct context *context, struct arena *arena, struct object *out)
{
	struct dot dots[CONTEXT_DOTS_MAX];
	uint32_t count = sort_dots(context, dots);

	if (unite_seen(old->seen, old->seen_count, dots, count, arena, out))
		return -ENOMEM;
	if (out->seen_count > OBJECT_SEEN_MAX) {
		out->seen += out->seen_count - OBJECT_SEEN_MAX;
		out->seen_count = OBJECT_SEEN_MAX;
	}
	return 0;
}

/* A put that supersedes siblings is never refused, however many are left. */
static bool adds_past_limits(const struct object *old, const struct object *out, uint64_t actor)
{
	if (out->sibling_count <= old->sibling_count)
		return false;
	return out->sibling_count > LIMIT_SIBLINGS ||
	       (out->vector.count > LIMIT_CLOCK_PUT && !owns_sibling(old, actor));
}

/* An operation takes effect at most once: may this attempt be the one? A first attempt may, however much was forgotten
 * since; of a later one it must be known that no earlier one was superseded. */
static enum object_put_result judge_attempt(const struct object *old, const struct context *context,
					    const struct sibling *sibling, const struct object_terms *terms)
{
	uint64_t time_ms;

	(void)rpc_operation_id_time(sibling->operation_id, &time_ms);
	if (sibling_is_past(&old->past, sibling))
		return OBJECT_PUT_SUPERSEDED;
	if (sibling_is_past(&context->past, sibling))
		return OBJECT_PUT_OWN_CONTEXT;
	if (terms->repeated && time_ms <= old->past.horizon_ms)
		return OBJECT_PUT_TOO_OLD;
	if (terms->window_ms > 0 && terms->now_ms > time_ms + terms->window_ms)
		return OBJECT_PUT_TOO_OLD;
	if (terms->window_ms > 0 && time_ms > terms->now_ms + terms->window_ms)
		return OBJECT_PUT_EARLY;
	return OBJECT_PUT_ADDED;
}

/* This attempt finds the operation applied; so another may have run elsewhere, and be cut off there. */
static int note_repeat(const struct object *old, const struct sibling *present, struct arena *arena, struct object *out)
{
	size_t size = old->sibling_count * sizeof *old->siblings;

	if (present->repeated)
		return 0;
	out->siblings = rpc_arena_copy(arena, old->siblings, size);
	if (out->siblings == NULL)
		return -ENOMEM;
	out->siblings[present - old->siblings].repeated = true;
	out->repeat_noted = true;
	return 0;
}

int object_put(const struct object *old, const struct context *context, const struct sibling *sibling,
	       const struct object_terms *terms, struct arena *arena, struct object *out,
	       enum object_put_result *result_out, struct dot *dot_out, uint32_t *truncated_out)
{
	const struct sibling *present = find_operation(old, sibling);
	struct sibling added = *sibling;
	uint64_t now_ms = terms->now_ms;
	bool changed;

	*out = *old;
	out->repeat_noted = false;
	*truncated_out = 0;
	if (present != NULL) {
		*result_out = OBJECT_PUT_DUPLICATE;
		*dot_out = present->dot;
		return terms->repeated ? note_repeat(old, present, arena, out) : 0;
	}
	*dot_out = (struct dot){0};
	*result_out = judge_attempt(old, context, sibling, terms);
	if (*result_out == OBJECT_PUT_SUPERSEDED && terms->repeated) {
		if (past_note_repeat(&old->past, sibling_mark(sibling), arena, &out->past))
			return -ENOMEM;
		past_bound(&out->past);
		out->repeat_noted = out->past.marks != old->past.marks;
	}
	if (*result_out != OBJECT_PUT_ADDED)
		return 0;
	*dot_out = sibling->dot;
	if (object_covers(old, sibling->dot) || context_covers(context, sibling->dot))
		return -EEXIST;
	added.repeated |= terms->repeated;
	if (replace_siblings(old, context, &added, arena, out) ||
	    version_merge(&old->vector, &context->vector, now_ms, arena, &out->vector, &changed))
		return -ENOMEM;
	raise_entry(&out->vector, sibling->dot, now_ms);
	assert(version_covers(&out->vector, sibling->dot)); /* O3 */
	if (put_seen(old, context, arena, out))
		return -ENOMEM;
	*truncated_out = truncate_vector(out, LIMIT_CLOCK_TRUNCATE);
	object_check(out);
	*result_out = OBJECT_PUT_ADDED;
	if (adds_past_limits(old, out, sibling->dot.actor)) {
		*out = *old;
		*truncated_out = 0;
		*result_out = OBJECT_PUT_SIBLING_LIMIT;
	}
	return 0;
}
