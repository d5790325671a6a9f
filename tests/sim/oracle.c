/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/sim/oracle.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "rpc/operation_id.h"
#include "tests/sim/sim_random.h"

void oracle_init(struct oracle *oracle, uint64_t seed, uint32_t replica_count)
{
	*oracle = (struct oracle){.seed = seed, .replica_count = replica_count};
}

void oracle_fini(struct oracle *oracle)
{
	for (uint32_t i = 0; i < oracle->count; i++)
		free(oracle->writes[i].given.writes);
	free(oracle->writes);
	free(oracle->stack);
}

void oracle_break(struct oracle *oracle, uint32_t key, const char *format, ...)
{
	va_list arguments;

	if (oracle->broken)
		return;
	oracle->broken = true;
	oracle->broken_key = key;
	va_start(arguments, format);
	vsnprintf(oracle->text, sizeof(oracle->text), format, arguments);
	va_end(arguments);
}

struct oracle_set oracle_set_copy(const struct oracle_set *set)
{
	struct oracle_set copy = *set;

	copy.writes = malloc((set->count + 1) * sizeof(*copy.writes));
	if (!copy.writes)
		abort();
	if (set->count)
		memcpy(copy.writes, set->writes, set->count * sizeof(*copy.writes));
	return copy;
}

void oracle_set_fini(struct oracle_set *set)
{
	free(set->writes);
	*set = (struct oracle_set){0};
}

/* ---- writes ---- */

static void grow(struct oracle *oracle)
{
	oracle->capacity = oracle->capacity ? oracle->capacity * 2 : 64;
	oracle->writes = realloc(oracle->writes, oracle->capacity * sizeof(*oracle->writes));
	oracle->stack = realloc(oracle->stack, oracle->capacity * sizeof(*oracle->stack));
	if (!oracle->writes || !oracle->stack)
		abort();
}

uint32_t oracle_begin(struct oracle *oracle, uint32_t client, uint32_t key, bool is_delete,
		      const struct oracle_set *given, uint64_t now_us)
{
	if (oracle->count == oracle->capacity)
		grow(oracle);
	oracle->writes[oracle->count] = (struct oracle_write){
		.key = key,
		.client = client,
		.is_delete = is_delete,
		.given = oracle_set_copy(given),
		.begun_us = now_us,
		.acked_us = UINT64_MAX,
	};
	return oracle->count++;
}

uint64_t oracle_unix_ms(uint64_t now_us)
{
	return (uint64_t)ORACLE_START_S * 1000 + now_us / 1000;
}

static uint64_t secret(const struct oracle *oracle, uint64_t number)
{
	return sim_random_mix(oracle->seed * 0x9e3779b97f4a7c15u + number + 1);
}

void oracle_id(const struct oracle *oracle, uint32_t write, uint8_t id_out[ORACLE_ID_SIZE])
{
	uint64_t half = secret(oracle, write);
	uint8_t random[OPERATION_ID_RANDOM_SIZE];

	memcpy(random, &half, sizeof(random) - sizeof(write));
	memcpy(random + sizeof(random) - sizeof(write), &write, sizeof(write));
	rpc_operation_id_make(oracle_unix_ms(oracle->writes[write].begun_us), random, id_out);
}

uint32_t oracle_find(const struct oracle *oracle, const uint8_t id[ORACLE_ID_SIZE])
{
	uint8_t expected[ORACLE_ID_SIZE];
	uint32_t write;

	memcpy(&write, id + ORACLE_ID_SIZE - sizeof(write), sizeof(write));
	if (write >= oracle->count)
		return ORACLE_NONE;
	oracle_id(oracle, write, expected);
	return memcmp(id, expected, ORACLE_ID_SIZE) ? ORACLE_NONE : write;
}

/* "w<number> k<key> " and a filler that only this write has: mostly short, sometimes some kilobytes. */
size_t oracle_value(const struct oracle *oracle, uint32_t write, uint8_t value_out[ORACLE_VALUE_MAX])
{
	struct sim_random random;
	int head = snprintf((char *)value_out, ORACLE_VALUE_MAX, "w%u k%u ", write, oracle->writes[write].key);

	sim_random_seed(&random, secret(oracle, write));
	size_t size = (size_t)head + sim_random_below(&random, sim_random_permille(&random, 100) ? 6000 : 120);
	for (size_t i = (size_t)head; i < size; i++)
		value_out[i] = (uint8_t)sim_random_next(&random);
	return size;
}

/* The write of which this is the value. */
static uint32_t find_value(struct oracle *oracle, uint32_t key, const struct oracle_bytes *value)
{
	uint8_t expected[ORACLE_VALUE_MAX];
	char head[32] = "";
	uint32_t write = 0, of_key = 0;

	if (value->size)
		memcpy(head, value->data, value->size < 31 ? value->size : 31);
	if (sscanf(head, "w%u k%u ", &write, &of_key) != 2 || write >= oracle->count || of_key != key) {
		oracle_break(oracle, key, "a value of %zu bytes was read that nobody wrote to this key: \"%.20s\"",
			     value->size, head);
		return ORACLE_NONE;
	}
	size_t size = oracle_value(oracle, write, expected);
	if (size != value->size || memcmp(expected, value->data, size)) {
		oracle_break(oracle, key, "the value of w%u was read changed: %zu bytes of %zu", write, value->size,
			     size);
		return ORACLE_NONE;
	}
	return write;
}

void oracle_acked(struct oracle *oracle, uint32_t write, uint32_t owners, uint32_t stand_ins, uint64_t now_us)
{
	struct oracle_write *w = &oracle->writes[write];

	if (w->acked_us != UINT64_MAX)
		return;
	w->acked_us = now_us;
	w->w = stand_ins ? 0 : owners;
}

static void check_refused(struct oracle *oracle, const struct oracle_write *write)
{
	bool refused = write->ended && write->attempts == write->refusals;

	if (refused && write->seen)
		oracle_break(oracle, write->key, "w%u was refused by every node asked, and yet it was read",
			     (uint32_t)(write - oracle->writes));
}

void oracle_repeated(struct oracle *oracle, uint32_t write)
{
	oracle->writes[write].repeated = true;
}

void oracle_attempted(struct oracle *oracle, uint32_t write, enum oracle_answer answer)
{
	oracle->writes[write].attempts++;
	oracle->writes[write].refusals += answer == ORACLE_REFUSED;
}

void oracle_ended(struct oracle *oracle, uint32_t write)
{
	oracle->writes[write].ended = true;
	check_refused(oracle, &oracle->writes[write]);
}

static void see(struct oracle *oracle, uint32_t write)
{
	oracle->writes[write].seen = true;
	check_refused(oracle, &oracle->writes[write]);
}

/* ---- what covers what ---- */

struct reach {
	struct oracle *oracle;
	uint32_t depth;
	bool with_deletes; /* also what may be covered */
};

static void reach_push(struct reach *reach, uint32_t write)
{
	struct oracle *oracle = reach->oracle;

	if (oracle->writes[write].stamp == oracle->stamp)
		return;
	oracle->writes[write].stamp = oracle->stamp;
	oracle->stack[reach->depth++] = write;
}

static void reach_push_deletes(struct reach *reach, uint32_t key, uint64_t before_us)
{
	const struct oracle *oracle = reach->oracle;

	for (uint32_t i = 0; i < oracle->count; i++)
		if (oracle->writes[i].key == key && oracle->writes[i].is_delete &&
		    oracle->writes[i].begun_us < before_us)
			reach_push(reach, i);
}

static void reach_push_set(struct reach *reach, uint32_t key, const struct oracle_set *set)
{
	for (uint32_t i = 0; i < set->count; i++)
		reach_push(reach, set->writes[i]);
	if (reach->with_deletes && set->deletes_before_us)
		reach_push_deletes(reach, key, set->deletes_before_us);
}

/* Stamps everything that what was pushed covers. */
static void reach_run(struct reach *reach)
{
	while (reach->depth) {
		const struct oracle_write *write = &reach->oracle->writes[reach->oracle->stack[--reach->depth]];
		reach_push_set(reach, write->key, &write->given);
	}
}

static struct reach reach_begin(struct oracle *oracle, bool with_deletes)
{
	oracle->stamp++;
	return (struct reach){oracle, 0, with_deletes};
}

/* Is it stamped by the last reach? */
static bool is_reached(const struct oracle *oracle, uint32_t write)
{
	return oracle->writes[write].stamp == oracle->stamp;
}

/* ---- rules ---- */

static bool asks_for_few(const struct oracle *oracle, const struct oracle_write *write)
{
	return write->asked > 0 && write->asked <= oracle->replica_count / 2;
}

/* May the owners of the key have forgotten that it was superseded? */
static bool may_be_forgotten(const struct oracle *oracle, uint32_t number)
{
	const struct oracle_write *write = &oracle->writes[number];
	uint32_t newer = 0, repeated = 0;
	bool few = asks_for_few(oracle, write);

	for (uint32_t i = 0; i < oracle->count; i++) {
		const struct oracle_write *other = &oracle->writes[i];
		if (i == number || other->key != write->key || other->begun_us / 1000 < write->begun_us / 1000)
			continue;
		newer++;
		repeated += other->repeated;
		few |= asks_for_few(oracle, other);
	}
	return repeated >= ORACLE_PAST_MAX || (newer >= ORACLE_PAST_MAX && few);
}

__attribute__((format(printf, 3, 4))) static void note_false(struct oracle *oracle, uint32_t key, const char *format,
							     ...)
{
	va_list arguments;

	if (oracle->false_siblings++ > 0)
		return;
	oracle->false_key = key;
	va_start(arguments, format);
	vsnprintf(oracle->false_text, sizeof(oracle->false_text), format, arguments);
	va_end(arguments);
}

/* L4. */
static void check_siblings(struct oracle *oracle, uint32_t key, const uint32_t *live, uint32_t count)
{
	for (uint32_t i = 0; i < count && count > 1; i++) {
		struct reach reach = reach_begin(oracle, false);
		reach_push_set(&reach, key, &oracle->writes[live[i]].given);
		reach_run(&reach);
		for (uint32_t j = 0; j < count; j++) {
			if (j == i || !is_reached(oracle, live[j]) || may_be_forgotten(oracle, live[j]))
				continue;
			note_false(oracle, key,
				   "false sibling: w%u is live although w%u, live too, was put with a context that "
				   "covers it",
				   live[j], live[i]);
		}
	}
}

/* Must a get of r that begins then see this write? */
static bool is_due(const struct oracle *oracle, const struct oracle_write *write, uint32_t key, uint32_t r,
		   uint64_t begun_us)
{
	return write->key == key && write->acked_us < begun_us &&
	       (oracle->majorities || write->w + r > oracle->replica_count);
}

/* L7. */
static void check_superseded(struct oracle *oracle, uint32_t key, uint32_t r, uint64_t begun_us, const uint32_t *live,
			     uint32_t count)
{
	struct reach reach = reach_begin(oracle, false);

	for (uint32_t i = 0; i < oracle->count; i++)
		if (is_due(oracle, &oracle->writes[i], key, r, begun_us))
			reach_push_set(&reach, key, &oracle->writes[i].given);
	reach_run(&reach);
	for (uint32_t i = 0; i < count; i++)
		if (is_reached(oracle, live[i]) && !may_be_forgotten(oracle, live[i]))
			note_false(oracle, key,
				   "a get of r=%u that began at %.3f s returned w%u, which a write acknowledged before "
				   "had superseded",
				   r, (double)begun_us / 1e6, live[i]);
}

static uint32_t take_values(struct oracle *oracle, uint32_t key, const struct oracle_bytes *values,
			    uint32_t value_count, uint32_t *writes)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < value_count; i++) {
		uint32_t write = find_value(oracle, key, &values[i]);
		if (write == ORACLE_NONE)
			continue;
		for (uint32_t j = 0; j < count; j++)
			if (writes[j] == write)
				oracle_break(oracle, key, "w%u came back as two siblings of one answer", write);
		see(oracle, write);
		oracle->writes[write].read = true;
		writes[count++] = write;
	}
	return count;
}

void oracle_read(struct oracle *oracle, uint32_t key, uint32_t r, uint64_t begun_us, uint64_t ended_us,
		 const struct oracle_bytes *values, uint32_t value_count, bool has_context, struct oracle_set *set_out)
{
	uint32_t *live = malloc((value_count + 1) * sizeof(*live));

	if (!live)
		abort();
	uint32_t count = take_values(oracle, key, values, value_count, live);
	*set_out = (struct oracle_set){live, count, has_context ? ended_us : 0};
	oracle->reads++;
	check_siblings(oracle, key, live, count);
	check_superseded(oracle, key, r, begun_us, live, count);
	struct reach reach = reach_begin(oracle, true);
	reach_push_set(&reach, key, set_out);
	reach_run(&reach);
	for (uint32_t i = 0; i < oracle->count; i++) {
		const struct oracle_write *write = &oracle->writes[i];
		if (!is_due(oracle, write, key, r, begun_us))
			continue;
		oracle->checks++;
		if (!is_reached(oracle, i))
			oracle_break(oracle, key,
				     "a get of r=%u that began at %.3f s missed w%u, acknowledged by %u of %u owners "
				     "at %.3f s",
				     r, (double)begun_us / 1e6, i, write->w, oracle->replica_count,
				     (double)write->acked_us / 1e6);
	}
}

/* L1 and L6, after a reach from what is live. */
static void check_kept(struct oracle *oracle, uint32_t number)
{
	const struct oracle_write *write = &oracle->writes[number];
	bool acked = write->acked_us != UINT64_MAX;

	if (!acked && (!write->read || oracle->disks_go_back || oracle->majorities))
		return;
	oracle->checks++;
	if (is_reached(oracle, number))
		return;
	if (acked)
		oracle_break(oracle, write->key,
			     "acknowledged write lost: w%u (%s by client %u, acknowledged at %.3f s) is not live at "
			     "the end, and "
			     "nothing live covers it",
			     number, write->is_delete ? "delete" : "put", write->client, (double)write->acked_us / 1e6);
	else
		oracle_break(oracle, write->key,
			     "a get returned w%u, never acknowledged, and at the end it is not live, and nothing live "
			     "covers it",
			     number);
}

void oracle_final(struct oracle *oracle, uint32_t key, const uint8_t (*ids)[ORACLE_ID_SIZE], uint32_t id_count)
{
	uint32_t *live = malloc((id_count + 1) * sizeof(*live));
	uint32_t count = 0;

	if (!live)
		abort();
	for (uint32_t i = 0; i < id_count; i++) {
		uint32_t write = oracle_find(oracle, ids[i]);
		if (write == ORACLE_NONE || oracle->writes[write].key != key) {
			oracle_break(oracle, key,
				     "at the end a version is live whose operation id nobody used for this key");
			continue;
		}
		see(oracle, write);
		live[count++] = write;
	}
	check_siblings(oracle, key, live, count);
	struct reach reach = reach_begin(oracle, true);
	reach_push_set(&reach, key, &(struct oracle_set){live, count, 0});
	reach_run(&reach);
	for (uint32_t i = 0; i < oracle->count; i++)
		if (oracle->writes[i].key == key)
			check_kept(oracle, i);
	free(live);
}

void oracle_close(struct oracle *oracle, uint64_t truncations)
{
	if (oracle->false_siblings && !truncations)
		oracle_break(oracle, oracle->false_key, "%s", oracle->false_text);
}
