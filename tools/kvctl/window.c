/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/window.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

void window_init(struct window *window, size_t record_max)
{
	*window = (struct window){.max = record_max, .slot_count = 1};
	while (window->slot_count < 2 * record_max)
		window->slot_count *= 2;
	window->records = calloc(record_max, sizeof *window->records);
	window->slots = calloc(window->slot_count, sizeof *window->slots);
	if (window->records == NULL || window->slots == NULL)
		abort();
}

static void drop(struct window *window)
{
	for (size_t i = 0; i < window->count; i++)
		record_free(&window->records[i]);
	memset(window->slots, 0, window->slot_count * sizeof *window->slots);
	window->count = 0;
}

void window_fini(struct window *window)
{
	drop(window);
	if (window->has_carried)
		record_free(&window->carried);
	free(window->records);
	free(window->slots);
}

/* False: the key is in the window already. */
static bool add(struct window *window, const struct record *record)
{
	size_t mask = window->slot_count - 1, slot = XXH3_64bits(record->key, record->key_size) & mask;
	for (; window->slots[slot]; slot = (slot + 1) & mask) {
		const struct record *other = &window->records[window->slots[slot] - 1];
		if (other->key_size == record->key_size && !memcmp(other->key, record->key, record->key_size))
			return false;
	}
	window->records[window->count++] = *record;
	window->slots[slot] = (uint32_t)window->count;
	return true;
}

int window_fill(struct window *window, struct records *records, struct rpc_error *error_out)
{
	size_t size = 0;
	drop(window);
	while (window->count < window->max && size < WINDOW_SIZE_MAX) {
		struct record record = window->carried;
		if (!window->has_carried) {
			int found = records_next(records, &record, error_out);
			if (found == -EBADMSG && window->on_bad != NULL && window->on_bad(window->arg, error_out->text))
				continue;
			if (found < 0)
				return found;
			if (found == 0)
				break;
		}
		window->has_carried = !add(window, &record);
		if (window->has_carried) {
			window->carried = record;
			break;
		}
		size += record.key_size + record.value_size;
	}
	return window->count > 0;
}
