/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/state/manifest_state.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "engine/disk/buffer.h"
#include "engine/table/sst.h"

int manifest_table_create(uint32_t level, uint64_t run, const struct table_meta *meta, struct manifest_table **out)
{
	struct manifest_table *table = calloc(1, sizeof *table);
	int error;

	if (table == NULL)
		return -ENOMEM;
	table->refs = 1;
	table->level = level;
	table->run = run;
	error = table_meta_copy(meta, &table->meta);
	if (error) {
		free(table);
		return error;
	}
	*out = table;
	return 0;
}

static struct manifest_table *table_ref(struct manifest_table *table)
{
	assert(table->refs > 0);
	table->refs++;
	return table;
}

void manifest_table_unref(struct manifest_table **table)
{
	struct manifest_table *it = *table;

	*table = NULL;
	assert(it == NULL || it->refs > 0);
	if (it == NULL || --it->refs)
		return;
	if (it->sst != NULL)
		sst_unref(&it->sst);
	table_meta_fini(&it->meta);
	free(it);
}

static void drop_fini(struct manifest_drop *drop)
{
	buffer_fini(&drop->begin);
	buffer_fini(&drop->end);
}

void manifest_state_fini(struct manifest_state *state)
{
	for (size_t i = 0; i < state->table_count; i++)
		manifest_table_unref(&state->tables[i]);
	for (size_t i = 0; i < state->drop_count; i++)
		drop_fini(&state->drops[i]);
	free(state->tables);
	free(state->drops);
	buffer_fini(&state->meta);
	quarantine_unref(&state->quarantine);
	*state = (struct manifest_state){0};
}

static size_t find_table(const struct manifest_state *state, uint64_t number)
{
	size_t i = 0;

	while (i < state->table_count && state->tables[i]->meta.number != number)
		i++;
	return i;
}

/* Takes over the reference. */
int manifest_state_add(struct manifest_state *state, struct manifest_table *table)
{
	struct manifest_table **tables;

	if (table->level >= MANIFEST_LEVELS || find_table(state, table->meta.number) != state->table_count) {
		manifest_table_unref(&table);
		return -EBADMSG;
	}
	tables = realloc(state->tables, (state->table_count + 1) * sizeof(struct manifest_table *));
	if (tables == NULL) {
		manifest_table_unref(&table);
		return -ENOMEM;
	}
	state->tables = tables;
	state->tables[state->table_count++] = table;
	return 0;
}

int manifest_state_remove(struct manifest_state *state, uint64_t number)
{
	size_t i = find_table(state, number);

	if (i == state->table_count)
		return -EBADMSG;
	manifest_table_unref(&state->tables[i]);
	state->tables[i] = state->tables[--state->table_count];
	return 0;
}

/* A partition that is dropped whole is known to be empty: its quarantine is over. */
static int state_release(struct manifest_state *state, struct engine_slice begin, struct engine_slice end)
{
	struct quarantine *rest;
	int error;

	if (state->quarantine == NULL)
		return 0;
	error = quarantine_create(state->quarantine, &rest);
	if (error)
		return error;
	quarantine_remove_range(rest, begin, end);
	if (!quarantine_count(rest))
		quarantine_unref(&rest);
	quarantine_unref(&state->quarantine);
	state->quarantine = rest;
	return 0;
}

int manifest_state_drop(struct manifest_state *state, uint64_t id, struct engine_slice begin, struct engine_slice end)
{
	struct manifest_drop *drops = realloc(state->drops, (state->drop_count + 1) * sizeof *drops);
	struct manifest_drop drop = {.id = id};

	if (drops == NULL)
		return -ENOMEM;
	state->drops = drops;
	if (buffer_assign(&drop.begin, begin) || buffer_assign(&drop.end, end)) {
		drop_fini(&drop);
		return -ENOMEM;
	}
	state->drops[state->drop_count++] = drop;
	if (id > state->last_drop_id)
		state->last_drop_id = id;
	return state_release(state, begin, end);
}

void manifest_state_forget(struct manifest_state *state, uint64_t id)
{
	size_t kept = 0;

	for (size_t i = 0; i < state->drop_count; i++) {
		if (state->drops[i].id <= id)
			drop_fini(&state->drops[i]);
		else
			state->drops[kept++] = state->drops[i];
	}
	state->drop_count = kept;
}

static void set_if(uint64_t *field, uint64_t value)
{
	if (value)
		*field = value;
}

static int state_apply(struct manifest_state *state, const struct manifest_edit *edit)
{
	int error = 0;

	for (size_t i = 0; error == 0 && i < edit->removed_count; i++)
		error = manifest_state_remove(state, edit->removed[i]);
	for (size_t i = 0; error == 0 && i < edit->added_count; i++)
		error = manifest_state_add(state, table_ref(edit->added[i]));
	if (error == 0 && edit->drop != NULL)
		error = manifest_state_drop(state, edit->drop->id, buffer_slice(&edit->drop->begin),
					    buffer_slice(&edit->drop->end));
	if (error == 0 && edit->meta != NULL)
		error = buffer_assign(&state->meta, *edit->meta);
	if (error)
		return error;
	manifest_state_forget(state, edit->forget_drops);
	set_if(&state->next_number, edit->next_number);
	set_if(&state->log_floor, edit->log_floor);
	set_if(&state->flushed_sequence, edit->flushed_sequence);
	set_if(&state->closed_sequence, edit->closed_sequence);
	if (edit->tree != NULL)
		state->tree = *edit->tree;
	if (edit->quarantine != NULL) {
		quarantine_unref(&state->quarantine);
		state->quarantine = quarantine_ref(edit->quarantine);
	}
	return 0;
}

static int state_clone(const struct manifest_state *from, struct manifest_state *to)
{
	int error = 0;

	*to = *from;
	to->tables = NULL;
	to->drops = NULL;
	to->meta = (struct buffer){0};
	to->quarantine = NULL;
	to->table_count = to->drop_count = 0;
	to->tables = malloc((from->table_count + 1) * sizeof(struct manifest_table *));
	if (to->tables == NULL)
		return -ENOMEM;
	for (size_t i = 0; i < from->table_count; i++)
		to->tables[to->table_count++] = table_ref(from->tables[i]);
	for (size_t i = 0; error == 0 && i < from->drop_count; i++)
		error = manifest_state_drop(to, from->drops[i].id, buffer_slice(&from->drops[i].begin),
					    buffer_slice(&from->drops[i].end));
	if (error == 0)
		error = buffer_assign(&to->meta, buffer_slice(&from->meta));
	/* Last: copying the drops must not end it. */
	to->quarantine = quarantine_ref(from->quarantine);
	return error;
}

int manifest_state_change(const struct manifest_state *from, const struct manifest_edit *edit,
			  struct manifest_state *to)
{
	int error;

	assert(from != to);
	error = state_clone(from, to);
	if (error == 0)
		error = state_apply(to, edit);
	if (error) {
		manifest_state_fini(to);
		return error;
	}
	assert(to->table_count + edit->removed_count == from->table_count + edit->added_count);
	assert(to->last_drop_id >= from->last_drop_id);
	return 0;
}
