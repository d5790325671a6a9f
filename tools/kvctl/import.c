/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/import.h"
#include "tools/kvctl/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* The state of a record of the window, besides its bytes. */
struct import_slot {
	uint8_t operation_id[RPC_OPERATION_ID_SIZE];
	uint8_t *context;
	size_t context_size;
	bool skipped; /* refused before the put */
};

struct import {
	struct transfer transfer;
	const struct import_options *options;
	struct import_slot *slots; /* per record of the window, as the gets */
	Kvring__V1__PutRequest *puts;
	size_t *put_records; /* index of the record that a put stores */
	size_t put_count;
	Kvring__V1__GetRequest *gets;
	uint64_t refused; /* records, those that cannot be read included */
	uint64_t refused_bytes;
	uint64_t unreadable;
};

static const char *go_on_advice(const struct import *import)
{
	return import->options->keep_going ? "" : "\n  --keep-going skips such records.";
}

/* A record that cannot be read. */
static bool on_bad(void *arg, const char *text)
{
	struct import *import = arg;
	if (!import->options->keep_going)
		return false;
	transfer_clear_line(&import->transfer);
	fprintf(stderr, "%s\n", text);
	import->refused++;
	import->unreadable++;
	return true;
}

static enum batches_verdict refuse(struct import *import, size_t index, const char *what, const char *why,
				   uint32_t code)
{
	import->transfer.stopped_by_input = code == KVRING__V1__CODE__INVALID_ARGUMENT;
	import->refused_bytes += import->transfer.window.records[index].value_size;
	transfer_print_record(&import->transfer, &import->transfer.window.records[index]);
	fprintf(stderr, ": %s: %s%s\n", what, why, go_on_advice(import));
	import->refused++;
	import->slots[index].skipped = true;
	return import->options->keep_going ? BATCHES_SETTLED : BATCHES_STOP;
}

/* ---- contexts ------------------------------------------------------------------------------------------------- */

static enum batches_verdict on_get(void *arg, size_t index, const Kvring__V1__GetResponse *get)
{
	struct import *import = arg;
	struct import_slot *slot = &import->slots[index];
	if (get->outcome != KVRING__V1__OUTCOME__DONE && get->outcome != KVRING__V1__OUTCOME__ABSENT) {
		if (batches_judge(get->outcome, get->code) == BATCHES_AGAIN)
			return BATCHES_AGAIN;
		/* a key that cannot be read is refused once, by the put: it says why in the words that fit */
		if (get->code == KVRING__V1__CODE__INVALID_ARGUMENT)
			return BATCHES_SETTLED;
		return refuse(import, index, "could not read what to replace", kvctl_reason(get->message, get->code),
			      get->code);
	}
	if (get->context.len) {
		slot->context = malloc(get->context.len);
		if (slot->context == NULL)
			abort();
		memcpy(slot->context, get->context.data, get->context.len);
		slot->context_size = get->context.len;
	}
	return BATCHES_SETTLED;
}

static int read_contexts(struct import *import)
{
	struct transfer *transfer = &import->transfer;
	struct rpc_error error;
	transfer->writing = false;
	transfer_gets(transfer, (struct kvctl_replicas){0}, import->gets);
	int failed = batches_get(&transfer->batches, import->gets, transfer->window.count, on_get, import, &error);
	return failed < 0 ? transfer_fail(transfer, failed, &error) : KVCTL_DONE;
}

/* ---- puts ----------------------------------------------------------------------------------------------------- */

static enum batches_verdict on_put(void *arg, size_t index, const Kvring__V1__PutResponse *put)
{
	struct import *import = arg;
	if (put->outcome == KVRING__V1__OUTCOME__DONE)
		return BATCHES_SETTLED;
	if (batches_judge(put->outcome, put->code) == BATCHES_AGAIN) {
		import->puts[index].attempt = 0; /* no longer the first */
		return BATCHES_AGAIN;
	}
	return refuse(import, import->put_records[index], "refused", kvctl_reason(put->message, put->code), put->code);
}

static void build_puts(struct import *import)
{
	const struct transfer *transfer = &import->transfer;
	const char *bucket = transfer->options->bucket;
	import->put_count = 0;
	for (size_t i = 0; i < transfer->window.count; i++) {
		const struct record *record = &transfer->window.records[i];
		struct import_slot *slot = &import->slots[i];
		if (slot->skipped)
			continue;
		Kvring__V1__PutRequest *put = &import->puts[import->put_count];
		import->put_records[import->put_count++] = i;
		kvring__v1__put_request__init(put);
		state_operation_id(&transfer->state, record->end_offset, slot->operation_id);
		put->bucket = (ProtobufCBinaryData){bucket != NULL ? strlen(bucket) : 0, (uint8_t *)bucket};
		put->key = (ProtobufCBinaryData){record->key_size, record->key};
		put->value = (ProtobufCBinaryData){record->value_size, record->value};
		put->context = (ProtobufCBinaryData){slot->context_size, slot->context};
		put->operation_id = (ProtobufCBinaryData){sizeof slot->operation_id, slot->operation_id};
		put->attempt = transfer->state.resumed ? 0 : 1;
		put->w = import->options->w.count;
		put->level = import->options->w.level;
	}
}

static int put_all(struct import *import)
{
	struct transfer *transfer = &import->transfer;
	struct rpc_error error;
	build_puts(import);
	transfer->writing = true;
	int failed = batches_put(&transfer->batches, import->puts, import->put_count, on_put, import, &error);
	return failed < 0 ? transfer_fail(transfer, failed, &error) : KVCTL_DONE;
}

/* ---- all of it ------------------------------------------------------------------------------------------------ */

static void drop_contexts(struct import *import)
{
	for (size_t i = 0; i < import->transfer.window.count; i++)
		free(import->slots[i].context);
	memset(import->slots, 0, import->transfer.window.max * sizeof *import->slots);
}

static int import_window(void *arg)
{
	struct import *import = arg;
	int status = import->options->blind ? KVCTL_DONE : read_contexts(import);
	if (status == KVCTL_DONE)
		status = put_all(import);
	drop_contexts(import);
	return status == KVCTL_DONE ? transfer_advance(&import->transfer) : status;
}

static void print_result(const struct import *import)
{
	const struct transfer *transfer = &import->transfer;
	char count[32], bytes[32], rate[32], repeated[32];
	if (transfer->options->kvctl->json) {
		json_t *object = json_object();
		transfer_set_figures(transfer, object);
		json_object_set_new(object, "refused", json_integer((json_int_t)import->refused));
		kvctl_print_json(object);
		return;
	}
	uint64_t acknowledged = transfer->record_count + import->unreadable - import->refused;
	printf("%s %s acknowledged, %s, %.1f s, %s/s; %s asked again\n", table_count(acknowledged, count),
	       acknowledged == 1 ? "record" : "records",
	       table_bytes(transfer->value_bytes - import->refused_bytes, bytes), transfer->seconds,
	       table_count(transfer->seconds > 0 ? (uint64_t)((double)transfer->record_count / transfer->seconds) : 0,
			   rate),
	       table_count(transfer->batches.repeated, repeated));
	if (import->refused)
		printf("%" PRIu64 " %s refused and skipped\n", import->refused,
		       import->refused == 1 ? "record was" : "records were");
}

int import_input(const struct import_options *options)
{
	struct import import = {.options = options};
	size_t max = (size_t)options->transfer.batch * options->transfer.outstanding;
	if (options->transfer.format == RECORD_KEYS)
		return kvctl_fail(options->transfer.kvctl, KVCTL_USAGE,
				  "a list of keys has no values to import; --format is jsonl or debian");
	import.slots = calloc(max, sizeof *import.slots);
	import.puts = calloc(max, sizeof *import.puts);
	import.gets = calloc(max, sizeof *import.gets);
	import.put_records = calloc(max, sizeof *import.put_records);
	if (import.slots == NULL || import.puts == NULL || import.gets == NULL || import.put_records == NULL)
		abort();
	int status = transfer_open(&import.transfer, &options->transfer, "import");
	import.transfer.window.on_bad = on_bad;
	import.transfer.window.arg = &import;
	if (status == KVCTL_DONE)
		status = transfer_each(&import.transfer, import_window, &import);
	transfer_close(&import.transfer);
	free(import.slots);
	free(import.puts);
	free(import.gets);
	free(import.put_records);
	if (status == KVCTL_DONE)
		print_result(&import);
	return status == KVCTL_DONE && import.refused ? KVCTL_REFUSED : status;
}
