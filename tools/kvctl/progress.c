/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/progress.h"
#include "rpc/rpc.h"
#include "tools/kvctl/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum {
	BAR_WIDTH = 30,
	TEXT_SIZE = 160,
	TERMINAL_INTERVAL_US = 100 * 1000,
	LINE_INTERVAL_US = 2 * 1000 * 1000,
};

void progress_init(struct progress *progress, const char *title, uint64_t total, uint64_t offset, bool quiet)
{
	uint64_t now = rpc_now_us();
	*progress = (struct progress){
		.title = title,
		.total = total,
		.offset = offset,
		.start_us = now,
		.shown_us = now,
		.quiet = quiet,
		.terminal = isatty(STDERR_FILENO),
	};
}

double progress_seconds(const struct progress *progress)
{
	return (double)(rpc_now_us() - progress->start_us) / 1e6;
}

static void print_bar(double share)
{
	putc('[', stderr);
	for (int i = 0; i < BAR_WIDTH; i++)
		putc(i < share * BAR_WIDTH ? '#' : '-', stderr);
	fprintf(stderr, "] %3.0f %%  ", share * 100);
}

static void print_line(const struct progress *progress, double share, const char *text)
{
	fprintf(stderr, "%s%s ", progress->terminal ? "\r\033[K" : "", progress->title);
	if (share >= 0 && progress->terminal)
		print_bar(share);
	else if (share >= 0)
		fprintf(stderr, "%3.0f %%  ", share * 100);
	fprintf(stderr, "%s%s", text, progress->terminal ? "" : "\n");
	fflush(stderr);
}

void progress_show(struct progress *progress, double share, const char *text)
{
	uint64_t now = rpc_now_us();
	if (progress->quiet ||
	    now - progress->shown_us < (progress->terminal ? TERMINAL_INTERVAL_US : LINE_INTERVAL_US))
		return;
	progress->shown_us = now;
	print_line(progress, share, text);
}

void progress_end(struct progress *progress, double share, const char *text)
{
	if (progress->quiet)
		return;
	print_line(progress, share, text);
	if (progress->terminal)
		putc('\n', stderr);
}

/* ---- of records ------------------------------------------------------------------------------------------------ */

static double share_of(const struct progress *progress, uint64_t done)
{
	return progress->total > 0 ? (double)done / (double)progress->total : -1;
}

static const char *describe(const struct progress *progress, uint64_t done, uint64_t records, char text[TEXT_SIZE])
{
	double seconds = progress_seconds(progress);
	char count[32], bytes[32], rate[32], left[32];
	int size =
		snprintf(text, TEXT_SIZE, "%s records  %s  %s/s", table_count(records, count), table_bytes(done, bytes),
			 table_count(seconds > 0 ? (uint64_t)((double)records / seconds) : 0, rate));
	if (progress->total > done && done > progress->offset) {
		double remaining = seconds * (double)(progress->total - done) / (double)(done - progress->offset);
		snprintf(text + size, TEXT_SIZE - (size_t)size, "  %s left",
			 table_duration((uint64_t)(remaining * 1000), left));
	}
	return text;
}

void progress_update(struct progress *progress, uint64_t done, uint64_t records)
{
	char text[TEXT_SIZE];
	progress_show(progress, share_of(progress, done), describe(progress, done, records, text));
}

void progress_finish(struct progress *progress, uint64_t done, uint64_t records)
{
	char text[TEXT_SIZE];
	progress_end(progress, share_of(progress, done), describe(progress, done, records, text));
}
