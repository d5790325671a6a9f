/* SPDX-License-Identifier: Apache-2.0 */
/* Table: cells collected row by row, printed with aligned columns. And figures as people read them.
 *
 * Threading   One thread.
 * Ownership   Copies the cells; table_print prints and frees.
 * Errors      None; aborts when memory is out.
 */
#ifndef KVRING_KVCTL_TABLE_H
#define KVRING_KVCTL_TABLE_H

#include <stdint.h>
#include <stdio.h>

enum { TABLE_COLUMNS_MAX = 24 };

struct table {
	const char *const *columns; /* NULL-terminated headings; one that starts with '>' aligns its column right */
	char **cells;
	unsigned column_count, cell_count, room;
};

void table_init(struct table *, const char *const *columns);
void table_cell(struct table *, const char *format, ...) __attribute__((format(printf, 2, 3)));
void table_print(struct table *, FILE *); /* and frees */

/* "1,234,567"; "12.3 MiB"; "3d 04h", "5m 12s". The buffer is the caller's, 32 bytes are enough. */
const char *table_count(uint64_t count, char buffer[32]);
const char *table_bytes(uint64_t bytes, char buffer[32]);
const char *table_duration(uint64_t ms, char buffer[32]);

#endif
