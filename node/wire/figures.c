/* SPDX-License-Identifier: Apache-2.0 */
#include "node/wire/figures.h"

#include <stddef.h>
#include <string.h>

#define FIGURE(name)                                                                                                   \
	{                                                                                                              \
		offsetof(struct ring_figures, name), offsetof(Kvring__V1__MemberRow, name),                            \
			offsetof(Kvring__V1__NodeStatus, name), sizeof((struct ring_figures){0}.name)                  \
	}

/* Same name and size in all three. load_permille alone is a fraction where operators see it. */
static const struct {
	size_t figure, row, status, size;
} table[] = {
	FIGURE(keys),        FIGURE(disk_bytes),          FIGURE(memory_bytes),   FIGURE(puts),         FIGURE(gets),
	FIGURE(dead_shards), FIGURE(incoming_partitions), FIGURE(incoming_total), FIGURE(copied_bytes),
};

enum { COUNT = sizeof table / sizeof table[0] };

static void copy(void *to, size_t to_offset, const void *from, size_t from_offset, size_t size)
{
	memcpy((char *)to + to_offset, (const char *)from + from_offset, size);
}

void figures_pack_row(const struct ring_figures *figures, Kvring__V1__MemberRow *out)
{
	for (uint32_t i = 0; i < COUNT; i++)
		copy(out, table[i].row, figures, table[i].figure, table[i].size);
	out->load_permille = figures->load_permille;
}

void figures_unpack_row(const Kvring__V1__MemberRow *row, struct ring_figures *out)
{
	for (uint32_t i = 0; i < COUNT; i++)
		copy(out, table[i].figure, row, table[i].row, table[i].size);
	out->load_permille = row->load_permille;
}

void figures_pack_status(const struct ring_figures *figures, Kvring__V1__NodeStatus *out)
{
	for (uint32_t i = 0; i < COUNT; i++)
		copy(out, table[i].status, figures, table[i].figure, table[i].size);
	out->load = figures->load_permille / 1000.0;
}
