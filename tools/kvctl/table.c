/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/table.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

void table_init(struct table *table, const char *const *columns)
{
	*table = (struct table){.columns = columns};
	while (columns[table->column_count] != NULL)
		table->column_count++;
	if (table->column_count > TABLE_COLUMNS_MAX)
		abort();
}

void table_cell(struct table *table, const char *format, ...)
{
	if (table->cell_count == table->room) {
		table->room = table->room ? 2 * table->room : 64;
		table->cells = realloc(table->cells, table->room * sizeof *table->cells);
		if (table->cells == NULL)
			abort();
	}
	va_list arguments;
	va_start(arguments, format);
	if (vasprintf(&table->cells[table->cell_count++], format, arguments) < 0)
		abort();
	va_end(arguments);
}

/* Columns on a terminal, not bytes: continuation bytes of UTF-8 take no room. */
static int width_of(const char *text)
{
	int width = 0;
	for (; *text; text++)
		width += (*text & 0xc0) != 0x80;
	return width;
}

static void print_cell(FILE *file, const char *text, int width, int right, int last)
{
	int blanks = width - width_of(text);
	if (right)
		fprintf(file, "%*s%s", blanks, "", text);
	else
		fprintf(file, "%s%*s", text, last ? 0 : blanks, "");
	fputs(last ? "\n" : "  ", file);
}

void table_print(struct table *table, FILE *file)
{
	int width[TABLE_COLUMNS_MAX], right[TABLE_COLUMNS_MAX];
	unsigned count = table->column_count;
	for (unsigned c = 0; c < count; c++) {
		right[c] = table->columns[c][0] == '>';
		width[c] = width_of(table->columns[c] + right[c]);
		for (unsigned i = c; i < table->cell_count; i += count)
			width[c] = width_of(table->cells[i]) > width[c] ? width_of(table->cells[i]) : width[c];
	}
	for (unsigned c = 0; c < count; c++)
		print_cell(file, table->columns[c] + right[c], width[c], right[c], c + 1 == count);
	for (unsigned i = 0; i < table->cell_count; i++) {
		unsigned c = i % count;
		print_cell(file, table->cells[i], width[c], right[c], c + 1 == count);
		free(table->cells[i]);
	}
	free(table->cells);
	table->cells = NULL;
	table->cell_count = table->room = 0;
}

const char *table_count(uint64_t count, char buffer[32])
{
	char digits[24];
	int size = snprintf(digits, sizeof digits, "%" PRIu64, count);
	char *at = buffer;
	for (int i = 0; i < size; i++) {
		if (i && (size - i) % 3 == 0)
			*at++ = ',';
		*at++ = digits[i];
	}
	*at = 0;
	return buffer;
}

const char *table_bytes(uint64_t bytes, char buffer[32])
{
	static const char *const UNITS[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
	double amount = (double)bytes;
	unsigned unit = 0;
	for (; amount >= 1024 && unit < 5; unit++)
		amount /= 1024;
	snprintf(buffer, 32, unit ? "%.1f %s" : "%.0f %s", amount, UNITS[unit]);
	return buffer;
}

const char *table_duration(uint64_t ms, char buffer[32])
{
	uint64_t seconds = ms / 1000;
	if (ms < 1000)
		snprintf(buffer, 32, "%" PRIu64 "ms", ms);
	else if (seconds < 60)
		snprintf(buffer, 32, "%.1fs", (double)ms / 1000);
	else if (seconds < 3600)
		snprintf(buffer, 32, "%" PRIu64 "m %02us", seconds / 60, (unsigned)(seconds % 60));
	else if (seconds < 86400)
		snprintf(buffer, 32, "%" PRIu64 "h %02um", seconds / 3600, (unsigned)(seconds / 60 % 60));
	else
		snprintf(buffer, 32, "%" PRIu64 "d %02uh", seconds / 86400, (unsigned)(seconds / 3600 % 24));
	return buffer;
}
