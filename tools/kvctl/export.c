/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/export.h"
#include "tools/kvctl/base64.h"
#include "tools/kvctl/table.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct export
{
	struct transfer transfer;
	const struct export_options *options;
	FILE *out;
	char **texts; /* per record of the window: what to write, NULL for nothing */
	size_t *text_sizes;
	uint64_t found, missing, unresolved;
};

/* ---- one record ----------------------------------------------------------------------------------------------- */

static char *line_of(const struct record *record, const Kvring__V1__GetResponse *get, size_t *size_out)
{
	json_t *object = json_object();
	kvctl_json_set_bytes(object, "key", record->key, record->key_size);
	if (get->n_siblings == 1) {
		kvctl_json_set_bytes(object, "value", get->siblings[0]->value.data, get->siblings[0]->value.len);
	} else {
		char *context = base64_encode(get->context.data, get->context.len);
		json_object_set_new(object, "siblings", kvctl_siblings_json(get));
		json_object_set_new(object, "context", json_string(context != NULL ? context : ""));
		free(context);
	}
	char *json = json_dumps(object, JSON_COMPACT | JSON_PRESERVE_ORDER), *line = NULL;
	json_decref(object);
	if (json == NULL || asprintf(&line, "%s\n", json) < 0)
		abort();
	free(json);
	*size_out = strlen(line);
	return line;
}

/* The stanza and the blank line after it. */
static char *stanza_of(const ProtobufCBinaryData *value, size_t *size_out)
{
	char *text = malloc(value->len + 2);
	if (text == NULL)
		abort();
	size_t size = value->len;
	if (size)
		memcpy(text, value->data, size);
	if (!size || text[size - 1] != '\n')
		text[size++] = '\n';
	text[size++] = '\n';
	*size_out = size;
	return text;
}

static void take(struct export *export, size_t index, const Kvring__V1__GetResponse *get)
{
	const struct record *record = &export->transfer.window.records[index];
	export->found++;
	if (get->n_siblings > 1) {
		export->unresolved++;
		transfer_print_record(&export->transfer, record);
		fprintf(stderr, ": %zu concurrent values%s\n", get->n_siblings,
			export->options->as == RECORD_DEBIAN ? ", left out; resolve them, or use --as jsonl" : "");
		if (export->options->as == RECORD_DEBIAN)
			return;
	}
	if (export->options->as == RECORD_DEBIAN)
		export->texts[index] = stanza_of(&get->siblings[0]->value, &export->text_sizes[index]);
	else
		export->texts[index] = line_of(record, get, &export->text_sizes[index]);
}

static enum batches_verdict on_get(void *arg, size_t index, const Kvring__V1__GetResponse *get)
{
	struct export *export = arg;
	const struct record *record = &export->transfer.window.records[index];
	if (get->outcome == KVRING__V1__OUTCOME__DONE) {
		take(export, index, get);
		return BATCHES_SETTLED;
	}
	if (get->outcome == KVRING__V1__OUTCOME__ABSENT) {
		export->missing++;
		transfer_print_record(&export->transfer, record);
		fputs(": not found\n", stderr);
		return BATCHES_SETTLED;
	}
	enum batches_verdict verdict = batches_judge(get->outcome, get->code);
	if (verdict == BATCHES_STOP) {
		export->transfer.stopped_by_input = get->code == KVRING__V1__CODE__INVALID_ARGUMENT;
		transfer_print_record(&export->transfer, record);
		fprintf(stderr, ": could not be read: %s\n", kvctl_reason(get->message, get->code));
	}
	return verdict;
}

/* ---- windows -------------------------------------------------------------------------------------------------- */

static void drop_texts(struct export *export)
{
	for (size_t i = 0; i < export->transfer.window.max; i++) {
		free(export->texts[i]);
		export->texts[i] = NULL;
	}
}

static int write_texts(struct export *export)
{
	bool written = true;
	for (size_t i = 0; i < export->transfer.window.count; i++) {
		if (export->texts[i] == NULL)
			continue;
		written &= fwrite(export->texts[i], 1, export->text_sizes[i], export->out) == export->text_sizes[i];
		export->transfer.state.output_size += export->text_sizes[i];
	}
	if (!written || fflush(export->out))
		return kvctl_fail(export->options->transfer.kvctl, KVCTL_OUTPUT, "cannot write %s: %s",
				  export->options->out_path != NULL ? export->options->out_path : "stdout",
				  strerror(errno));
	return KVCTL_DONE;
}

static int export_window(void *arg)
{
	struct export *export = arg;
	struct transfer *transfer = &export->transfer;
	struct rpc_error error;
	Kvring__V1__GetRequest *gets = calloc(transfer->window.count, sizeof *gets);
	if (gets == NULL)
		abort();
	transfer_gets(transfer, export->options->r, gets);
	int failed = batches_get(&transfer->batches, gets, transfer->window.count, on_get, export, &error);
	int status = failed < 0 ? transfer_fail(transfer, failed, &error) : write_texts(export);
	drop_texts(export);
	free(gets);
	return status == KVCTL_DONE ? transfer_advance(transfer) : status;
}

/* ---- output file ---------------------------------------------------------------------------------------------- */

static int open_output(struct export *export)
{
	const char *path = export->options->out_path;
	uint64_t keep = export->transfer.state.output_size;
	export->out = stdout;
	if (path == NULL)
		return KVCTL_DONE;
	export->out = fopen(path, keep ? "r+e" : "we");
	if (export->out == NULL && keep && errno == ENOENT)
		return kvctl_fail(
			export->options->transfer.kvctl, KVCTL_USAGE,
			"%s is not there, and the state file records %" PRIu64
			" bytes of it; name the file that was written, or remove the state file to start over",
			path, keep);
	bool resumable = export->options->transfer.state_path != NULL; /* else it may be a device or a pipe */
	if (export->out == NULL ||
	    (resumable && (ftruncate(fileno(export->out), (off_t)keep) < 0 || fseeko(export->out, 0, SEEK_END) < 0)))
		return kvctl_fail(export->options->transfer.kvctl, KVCTL_USAGE, "cannot write %s: %s", path,
				  strerror(errno));
	if (resumable && (uint64_t)ftello(export->out) != keep)
		return kvctl_fail(export->options->transfer.kvctl, KVCTL_USAGE,
				  "%s has less than the %" PRIu64
				  " bytes that the state file records; remove the state file to start over",
				  path, keep);
	return KVCTL_DONE;
}

static void print_result(const struct export *export)
{
	const struct transfer *transfer = &export->transfer;
	char found[32], bytes[32];
	FILE *file = export->options->out_path != NULL ? stdout : stderr; /* stdout may be the records */
	if (transfer->options->kvctl->json && export->options->out_path != NULL) {
		json_t *object = json_object();
		transfer_set_figures(transfer, object);
		json_object_set_new(object, "found", json_integer((json_int_t) export->found));
		json_object_set_new(object, "missing", json_integer((json_int_t) export->missing));
		json_object_set_new(object, "unresolved", json_integer((json_int_t) export->unresolved));
		kvctl_print_json(object);
		return;
	}
	fprintf(file, "%s records, %s; %" PRIu64 " keys were not found, %" PRIu64 " have concurrent values\n",
		table_count(export->found, found), table_bytes(transfer->state.output_size, bytes), export->missing,
		export->unresolved);
}

static bool same_file(const char *one, const char *other)
{
	struct stat a, b;
	return one != NULL && other != NULL &&
	       (!strcmp(one, other) ||
		(stat(one, &a) == 0 && stat(other, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino));
}

/* Opening the output empties it. */
static int check_paths(const struct export_options *options)
{
	const char *const taken[] = {options->transfer.path, options->transfer.state_path};
	for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
		if (same_file(options->out_path, taken[i]))
			return kvctl_fail(options->transfer.kvctl, KVCTL_USAGE,
					  "--out %s is the file of the %s, which would be lost: name another one",
					  options->out_path, i ? "state" : "keys");
	return KVCTL_DONE;
}

static int check_options(const struct export_options *options)
{
	if (options->transfer.state_path != NULL && options->out_path == NULL)
		return kvctl_fail(options->transfer.kvctl, KVCTL_USAGE,
				  "--state needs --out FILE: what has gone to stdout cannot be taken back");
	return check_paths(options);
}

int export_keys(const struct export_options *options)
{
	struct export export = {.options = options};
	size_t max = (size_t)options->transfer.batch * options->transfer.outstanding;
	int status = check_options(options);
	if (status != KVCTL_DONE)
		return status;
	export.texts = calloc(max, sizeof *export.texts);
	export.text_sizes = calloc(max, sizeof *export.text_sizes);
	if (export.texts == NULL || export.text_sizes == NULL)
		abort();
	status = transfer_open(&export.transfer, &options->transfer, "export");
	if (status == KVCTL_DONE)
		status = open_output(&export);
	if (status == KVCTL_DONE)
		status = transfer_each(&export.transfer, export_window, &export);
	transfer_close(&export.transfer);
	if (export.out != NULL && export.out != stdout && fclose(export.out) && status == KVCTL_DONE)
		status = kvctl_fail(options->transfer.kvctl, KVCTL_OUTPUT, "cannot write %s: %s", options->out_path,
				    strerror(errno));
	free(export.texts);
	free(export.text_sizes);
	if (status == KVCTL_DONE)
		print_result(&export);
	return status == KVCTL_DONE && export.missing ? KVCTL_NOT_FOUND : status;
}
