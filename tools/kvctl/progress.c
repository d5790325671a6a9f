/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/progress.h"
#include "rpc/rpc.h"
#include "tools/kvctl/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

enum {
	BAR_WIDTH = 30,
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

static void print_state(const struct progress *progress, uint64_t done, uint64_t records)
{
	double seconds = progress_seconds(progress);
	char count[32], bytes[32], rate[32], left[32];
	fprintf(stderr, "%s%s ", progress->terminal ? "\r\033[K" : "", progress->title);
	if (progress->total) {
		double share = (double)done / (double)progress->total;
		if (progress->terminal)
			print_bar(share);
		else
			fprintf(stderr, "%3.0f %%  ", share * 100);
	}
	fprintf(stderr, "%s records  %s  %s/s", table_count(records, count), table_bytes(done, bytes),
		table_count(seconds > 0 ? (uint64_t)((double)records / seconds) : 0, rate));
	if (progress->total > done && done > progress->offset) {
		double remaining = seconds * (double)(progress->total - done) / (double)(done - progress->offset);
		fprintf(stderr, "  %s left", table_duration((uint64_t)(remaining * 1000), left));
	}
	fputs(progress->terminal ? "" : "\n", stderr);
	fflush(stderr);
}

void progress_update(struct progress *progress, uint64_t done, uint64_t records)
{
	uint64_t now = rpc_now_us();
	if (progress->quiet ||
	    now - progress->shown_us < (progress->terminal ? TERMINAL_INTERVAL_US : LINE_INTERVAL_US))
		return;
	progress->shown_us = now;
	print_state(progress, done, records);
}

void progress_finish(struct progress *progress, uint64_t done, uint64_t records)
{
	if (progress->quiet)
		return;
	print_state(progress, done, records);
	if (progress->terminal)
		putc('\n', stderr);
}
