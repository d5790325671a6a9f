/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/transfer.h"
#include "tools/kvctl/table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum {
	OPTION_STATE = 2000,
	OPTION_BATCH,
	OPTION_OUTSTANDING,
	OPTION_PATIENCE,
	DEFAULT_BATCH = 128,
	DEFAULT_OUTSTANDING = 8,
	DEFAULT_PATIENCE_MS = 60 * 1000,
};

void transfer_options_init(struct transfer_options *options, struct kvctl *kvctl)
{
	*options = (struct transfer_options){
		.kvctl = kvctl,
		.batch = DEFAULT_BATCH,
		.outstanding = DEFAULT_OUTSTANDING,
		.patience_ms = DEFAULT_PATIENCE_MS,
	};
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct transfer_options *options = state->input;
	uint64_t ms = 0;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = options->kvctl;
		return 0;
	case 'f':
		if (!records_parse_format(arg, &options->format))
			argp_error(state, "--format is jsonl, debian or keys, not '%s'", arg);
		return 0;
	case 'b':
		options->bucket = arg;
		return 0;
	case 'q':
		options->quiet = true;
		return 0;
	case OPTION_STATE:
		options->state_path = arg;
		return 0;
	case OPTION_BATCH:
		options->batch = kvctl_parse_number(state, "--batch", arg, 1, BATCHES_OPERATIONS_MAX);
		return 0;
	case OPTION_OUTSTANDING:
		options->outstanding = kvctl_parse_number(state, "--outstanding", arg, 1, 256);
		return 0;
	case OPTION_PATIENCE:
		if (!kvctl_parse_duration(arg, KVCTL_TIMEOUT_MAX_MS, &ms))
			argp_error(state, "--patience is a duration such as 30s, 5m or 1h, up to 7d, not '%s'", arg);
		options->patience_ms = (uint32_t)ms;
		return 0;
	case ARGP_KEY_ARG:
		if (state->arg_num)
			argp_error(state, "one argument too many: '%s'", arg);
		options->path = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "which FILE? - is stdin");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option options[] = {
	{"format", 'f', "jsonl|debian|keys", 0, "Form of FILE (default: jsonl)", 2},
	{"bucket", 'b', "NAME", 0, "Bucket of the keys (default: default)", 2},
	{"state", OPTION_STATE, "STATE", 0,
	 "Note in this file how far it has come; a later run with the same file resumes there", 2},
	{"batch", OPTION_BATCH, "COUNT", 0, "Records per request (default: 128)", 2},
	{"outstanding", OPTION_OUTSTANDING, "COUNT", 0, "Requests under way (default: 8)", 2},
	{"patience", OPTION_PATIENCE, "DURATION", 0, "Give up when nothing was acknowledged for so long (default: 60s)",
	 2},
	{"quiet", 'q', NULL, 0, "No progress on stderr", 2},
	{0},
};

static const struct argp transfer_argp = {.options = options, .parser = parse, .children = kvctl_argp_child};
const struct argp_child transfer_argp_child[] = {{.argp = &transfer_argp}, {0}};

/* ---- open and close ------------------------------------------------------------------------------------------- */

static int open_input(struct transfer *transfer)
{
	const struct transfer_options *given = transfer->options;
	struct rpc_error error;
	uint64_t size = 0;
	if (records_open(given->path, given->format, 0, 0, &transfer->records, &error) < 0)
		return kvctl_fail(given->kvctl, KVCTL_USAGE, "%s", error.text);
	size = records_input_size(transfer->records);
	if (given->state_path != NULL && !size)
		return kvctl_fail(
			given->kvctl, KVCTL_USAGE,
			"--state needs an input that is a file, and not empty: %s cannot be read again from its middle",
			strcmp(given->path, "-") ? given->path : "stdin");
	if (state_load(given->state_path, size, &transfer->state, &error) < 0)
		return kvctl_fail(given->kvctl, KVCTL_USAGE, "%s", error.text);
	/* before anything is sent: what is sent twice must carry the same operation ids */
	if (state_save(given->state_path, &transfer->state, &error) < 0)
		return kvctl_fail(given->kvctl, KVCTL_USAGE, "%s", error.text);
	if (transfer->state.offset) {
		records_close(&transfer->records);
		if (records_open(given->path, given->format, transfer->state.offset, transfer->state.line,
				 &transfer->records, &error) < 0)
			return kvctl_fail(given->kvctl, KVCTL_USAGE, "%s", error.text);
	}
	if (given->requires_values)
		records_require_values(transfer->records);
	return KVCTL_DONE;
}

int transfer_open(struct transfer *transfer, const struct transfer_options *given, const char *title)
{
	*transfer = (struct transfer){.options = given};
	window_init(&transfer->window, (size_t)given->batch * given->outstanding);
	int status = open_input(transfer);
	if (status == KVCTL_DONE)
		status = kvctl_connect(given->kvctl);
	if (status == KVCTL_DONE && kv_client_wait_connected(given->kvctl->client, 1, given->kvctl->timeout_ms) < 0)
		status = kvctl_fail_connect(given->kvctl, 0);
	if (status != KVCTL_DONE)
		return status;
	transfer->batches = (struct batches){
		.client = given->kvctl->client,
		.operations_max = given->batch,
		.patience_ms = given->patience_ms,
	};
	progress_init(&transfer->progress, title, transfer->state.input_size, transfer->state.offset, given->quiet);
	if (transfer->state.offset && !given->quiet) {
		char count[32];
		fprintf(stderr, "%s: resumes after %s records\n", given->kvctl->command,
			table_count(transfer->state.record_count, count));
	}
	return KVCTL_DONE;
}

void transfer_close(struct transfer *transfer)
{
	if (transfer->progress.title != NULL) {
		transfer->seconds = progress_seconds(&transfer->progress);
		progress_finish(&transfer->progress, transfer->state.offset, transfer->record_count);
	}
	window_fini(&transfer->window);
	if (transfer->records != NULL)
		records_close(&transfer->records);
	if (transfer->options->kvctl->client != NULL)
		kv_client_close(&transfer->options->kvctl->client);
}

/* ---- window by window ----------------------------------------------------------------------------------------- */

int transfer_each(struct transfer *transfer, int (*settle_window)(void *arg), void *arg)
{
	struct rpc_error error;
	int filled, status = KVCTL_DONE;
	while (status == KVCTL_DONE && (filled = window_fill(&transfer->window, transfer->records, &error)) != 0)
		status = filled < 0 ? kvctl_fail(transfer->options->kvctl, KVCTL_USAGE, "%s", error.text)
				    : settle_window(arg);
	return status;
}

int transfer_advance(struct transfer *transfer)
{
	const struct window *window = &transfer->window;
	const struct record *last = &window->records[window->count - 1];
	struct rpc_error error;
	for (size_t i = 0; i < window->count; i++)
		transfer->value_bytes += window->records[i].value_size;
	transfer->record_count += window->count;
	transfer->state.record_count += window->count;
	transfer->state.offset = last->end_offset;
	transfer->state.line = last->end_line;
	state_begin_window(&transfer->state);
	if (state_save(transfer->options->state_path, &transfer->state, &error) < 0)
		return kvctl_fail(transfer->options->kvctl, KVCTL_OUTPUT, "cannot note how far it has come: %s",
				  error.text);
	progress_update(&transfer->progress, transfer->state.offset, transfer->record_count);
	return KVCTL_DONE;
}

void transfer_gets(const struct transfer *transfer, struct kvctl_replicas r, Kvring__V1__GetRequest *gets_out)
{
	for (size_t i = 0; i < transfer->window.count; i++) {
		const struct record *record = &transfer->window.records[i];
		kvring__v1__get_request__init(&gets_out[i]);
		gets_out[i].key.data = record->key;
		gets_out[i].key.len = record->key_size;
		gets_out[i].bucket.data = (uint8_t *)transfer->options->bucket;
		gets_out[i].bucket.len = transfer->options->bucket != NULL ? strlen(transfer->options->bucket) : 0;
		gets_out[i].r = r.count;
		gets_out[i].level = r.level;
	}
}

/* ---- what is said --------------------------------------------------------------------------------------------- */

int transfer_fail(const struct transfer *transfer, int error, const struct rpc_error *why)
{
	const struct transfer_options *given = transfer->options;
	char count[32], resume[256] = "";
	int status = KVCTL_REFUSED;
	if (error == -ETIMEDOUT) /* what only reads is never in doubt */
		status = transfer->writing && kv_client_wait_connected(given->kvctl->client, 1, 1) == 0
				 ? KVCTL_IN_DOUBT
				 : KVCTL_UNREACHABLE;
	if (given->state_path != NULL)
		snprintf(resume, sizeof resume, "\n  Run the same command again to resume from there.");
	fputs(transfer->progress.terminal && !given->quiet ? "\n" : "", stderr);
	if (error == -EBADMSG)
		status = KVCTL_UNREACHABLE;
	if (error == -ECANCELED) /* said by the callback */
		return kvctl_fail(given->kvctl, transfer->stopped_by_input ? KVCTL_USAGE : KVCTL_REFUSED,
				  "stopped after %s records%s", table_count(transfer->state.record_count, count),
				  resume);
	return kvctl_fail(given->kvctl, status, "stopped after %s records: %s%s",
			  table_count(transfer->state.record_count, count), why->text, resume);
}

void transfer_clear_line(const struct transfer *transfer)
{
	fputs(transfer->progress.terminal && !transfer->options->quiet ? "\r\033[K" : "", stderr);
}

void transfer_print_record(const struct transfer *transfer, const struct record *record)
{
	transfer_clear_line(transfer);
	fprintf(stderr, "%s:%" PRIu64 ": ", strcmp(transfer->options->path, "-") ? transfer->options->path : "stdin",
		record->line);
	kvctl_print_key(stderr, record->key, record->key_size > 100 ? 100 : record->key_size);
	fputs(record->key_size > 100 ? "..." : "", stderr);
}

void transfer_set_figures(const struct transfer *transfer, json_t *object)
{
	double rate = transfer->seconds > 0 ? (double)transfer->record_count / transfer->seconds : 0;
	json_object_set_new(object, "records", json_integer((json_int_t)transfer->record_count));
	json_object_set_new(object, "value_bytes", json_integer((json_int_t)transfer->value_bytes));
	json_object_set_new(object, "seconds", json_real(transfer->seconds));
	json_object_set_new(object, "records_per_second", json_real(rate));
	json_object_set_new(object, "repeated", json_integer((json_int_t)transfer->batches.repeated));
}
