/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/compare.h"
#include "tools/kvctl/latest.h"
#include "tools/kvctl/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum { REPORTED_MAX = 10 }; /* differences shown one by one */

struct compare {
	struct transfer transfer;
	struct latest *latest;
	const struct compare_options *options;
	uint64_t seen; /* records, for the sample */
	uint64_t equal, different, missing, siblings, superseded, skipped;
};

static void report(struct compare *compare, const struct record *record, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static void report(struct compare *compare, const struct record *record, const char *format, ...)
{
	uint64_t found = compare->different + compare->missing + compare->siblings;
	if (found == REPORTED_MAX + 1)
		fprintf(stderr, "more differences are counted, not shown\n");
	if (found > REPORTED_MAX)
		return;
	va_list arguments;
	va_start(arguments, format);
	transfer_print_record(&compare->transfer, record);
	vfprintf(stderr, format, arguments);
	fputc('\n', stderr);
	va_end(arguments);
}

static void compare_value(struct compare *compare, const struct record *record, const ProtobufCBinaryData *stored)
{
	size_t at = 0, shorter = stored->len < record->value_size ? stored->len : record->value_size;
	if (stored->len == record->value_size && (!stored->len || !memcmp(stored->data, record->value, stored->len))) {
		compare->equal++;
		return;
	}
	while (at < shorter && stored->data[at] == record->value[at])
		at++;
	compare->different++;
	report(compare, record, ": differs at byte %zu; %zu bytes in the input, %zu stored", at, record->value_size,
	       stored->len);
}

static enum batches_verdict on_get(void *arg, size_t index, const Kvring__V1__GetResponse *get)
{
	struct compare *compare = arg;
	const struct record *record = &compare->transfer.window.records[index];
	if (get->outcome == KVRING__V1__OUTCOME__ABSENT) {
		compare->missing++;
		report(compare, record, ": not found");
	} else if (get->outcome != KVRING__V1__OUTCOME__DONE) {
		enum batches_verdict verdict = batches_judge(get->outcome, get->code);
		if (verdict == BATCHES_STOP) {
			compare->transfer.stopped_by_input = get->code == KVRING__V1__CODE__INVALID_ARGUMENT;
			transfer_print_record(&compare->transfer, record);
			fprintf(stderr, ": could not be read: %s\n", kvctl_reason(get->message, get->code));
		}
		return verdict;
	} else if (get->n_siblings > 1) {
		compare->siblings++;
		report(compare, record, ": %zu concurrent values", get->n_siblings);
	} else {
		compare_value(compare, record, &get->siblings[0]->value);
	}
	return BATCHES_SETTLED;
}

/* Drops from the window what is not to be compared. */
static void select_records(struct compare *compare)
{
	struct window *window = &compare->transfer.window;
	size_t kept = 0;
	for (size_t i = 0; i < window->count; i++) {
		struct record *record = &window->records[i];
		bool last = latest_is_last(compare->latest, record),
		     chosen = compare->seen++ % compare->options->sample == 0;
		compare->superseded += !last;
		compare->skipped += last && !chosen;
		if (!last || !chosen || record->value == NULL) {
			record_free(record);
			continue;
		}
		struct record moved = *record;
		*record = (struct record){0};
		window->records[kept++] = moved;
	}
	window->count = kept;
}

static int compare_window(void *arg)
{
	struct compare *compare = arg;
	struct transfer *transfer = &compare->transfer;
	struct rpc_error error;
	const struct record end = transfer->window.records[transfer->window.count - 1];
	select_records(compare);
	if (!transfer->window.count)
		return KVCTL_DONE;
	Kvring__V1__GetRequest *gets = calloc(transfer->window.count, sizeof *gets);
	if (gets == NULL)
		abort();
	transfer_gets(transfer, compare->options->r, gets);
	int failed = batches_get(&transfer->batches, gets, transfer->window.count, on_get, compare, &error);
	free(gets);
	if (failed < 0)
		return transfer_fail(transfer, failed, &error);
	/* the offset is that of the window as it was read */
	struct record *last = &transfer->window.records[transfer->window.count - 1];
	last->end_offset = end.end_offset;
	last->end_line = end.end_line;
	return transfer_advance(transfer);
}

static void print_result(const struct compare *compare)
{
	char equal[32], all[32], rate[32];
	const struct transfer *transfer = &compare->transfer;
	uint64_t wrong = compare->different + compare->missing + compare->siblings;
	if (transfer->options->kvctl->json) {
		json_t *object = json_object();
		transfer_set_figures(transfer, object);
		json_object_set_new(object, "equal", json_integer((json_int_t)compare->equal));
		json_object_set_new(object, "different", json_integer((json_int_t)compare->different));
		json_object_set_new(object, "missing", json_integer((json_int_t)compare->missing));
		json_object_set_new(object, "siblings", json_integer((json_int_t)compare->siblings));
		json_object_set_new(object, "superseded", json_integer((json_int_t)compare->superseded));
		kvctl_print_json(object);
		return;
	}
	printf("%s of %s records are equal, byte by byte; %s/s", table_count(compare->equal, equal),
	       table_count(compare->equal + wrong, all),
	       table_count(transfer->seconds > 0 ? (uint64_t)((double)transfer->record_count / transfer->seconds) : 0,
			   rate));
	if (compare->superseded)
		printf("; %" PRIu64 " more have a later record of the same key", compare->superseded);
	putchar('\n');
	if (wrong)
		printf("%" PRIu64 " differ, %" PRIu64 " are missing, %" PRIu64 " have concurrent values\n",
		       compare->different, compare->missing, compare->siblings);
}

int compare_input(const struct compare_options *options)
{
	struct compare compare = {.options = options};
	struct kvctl *kvctl = options->transfer.kvctl;
	struct rpc_error error;
	if (!strcmp(options->transfer.path, "-"))
		return kvctl_fail(kvctl, KVCTL_USAGE, "needs a FILE: it is read twice, stdin cannot be");
	if (options->transfer.format == RECORD_KEYS)
		return kvctl_fail(kvctl, KVCTL_USAGE,
				  "a list of keys has no values to compare; give the input of the import");
	if (latest_open(options->transfer.path, options->transfer.format, &compare.latest, &error) < 0)
		return kvctl_fail(kvctl, KVCTL_USAGE, "%s", error.text);
	int status = transfer_open(&compare.transfer, &options->transfer, "compare");
	if (status == KVCTL_DONE)
		status = transfer_each(&compare.transfer, compare_window, &compare);
	transfer_close(&compare.transfer);
	latest_close(&compare.latest);
	if (status != KVCTL_DONE)
		return status;
	print_result(&compare);
	return compare.different + compare.missing + compare.siblings ? KVCTL_NOT_FOUND : KVCTL_DONE;
}
