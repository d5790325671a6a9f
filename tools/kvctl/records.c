/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/records.h"
#include "tools/kvctl/base64.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A value of 8 MiB with each byte written as \\u00XX, and its key, are shorter. */
enum { LINE_SIZE_MAX = 64 * 1024 * 1024 };

struct records {
	FILE *file;
	char *name; /* for messages */
	enum record_format format;
	uint64_t offset, line; /* of what has been read */
	bool requires_values;
	char *text; /* the current line */
	size_t text_room;
};

bool records_parse_format(const char *name, enum record_format *out)
{
	static const struct {
		const char *name;
		enum record_format format;
	} FORMATS[] = {{"jsonl", RECORD_JSON_LINES}, {"debian", RECORD_DEBIAN}, {"keys", RECORD_KEYS}};
	for (size_t i = 0; i < sizeof FORMATS / sizeof *FORMATS; i++) {
		if (!strcmp(FORMATS[i].name, name)) {
			*out = FORMATS[i].format;
			return true;
		}
	}
	return false;
}

int records_open(const char *path, enum record_format format, uint64_t offset, uint64_t line, struct records **out,
		 struct rpc_error *error_out)
{
	bool from_stdin = !strcmp(path, "-");
	FILE *file = from_stdin ? stdin : fopen(path, "re");
	if (file == NULL || (offset && fseeko(file, (off_t)offset, SEEK_SET) < 0)) {
		int error = -errno;
		snprintf(error_out->text, sizeof error_out->text, "cannot read %s: %s", path, strerror(-error));
		if (file != NULL && !from_stdin)
			fclose(file);
		return error;
	}
	struct records *records = calloc(1, sizeof *records);
	char *name = strdup(from_stdin ? "stdin" : path);
	if (records == NULL || name == NULL)
		abort();
	*records = (struct records){.file = file, .name = name, .format = format, .offset = offset, .line = line};
	*out = records;
	return 0;
}

void records_close(struct records **records_inout)
{
	struct records *records = *records_inout;
	*records_inout = NULL;
	if (records == NULL)
		return;
	if (records->file != stdin)
		fclose(records->file);
	free(records->name);
	free(records->text);
	free(records);
}

void records_require_values(struct records *records)
{
	records->requires_values = true;
}

uint64_t records_input_size(const struct records *records)
{
	struct stat status;
	return fstat(fileno(records->file), &status) == 0 && S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0;
}

void record_free(struct record *record)
{
	free(record->key);
	free(record->value);
	record->key = record->value = NULL;
}

/* ---- lines ---------------------------------------------------------------------------------------------------- */

static int fail_reading(const struct records *records, int error, const char *why, struct rpc_error *error_out)
{
	snprintf(error_out->text, sizeof error_out->text, "%s: cannot read on after line %" PRIu64 ": %s",
		 records->name, records->line, why);
	return error;
}

/* What getline does, up to LINE_SIZE_MAX: its size, 0 at the end of the input, or a negative errno. */
static ssize_t read_line(struct records *records)
{
	size_t size = 0;
	int c = 0;
	errno = 0;
	while (c != '\n' && (c = getc_unlocked(records->file)) != EOF) {
		if (size == LINE_SIZE_MAX)
			return -EFBIG;
		if (size == records->text_room) {
			records->text_room = size ? 2 * size : 4096;
			records->text = realloc(records->text, records->text_room);
			if (records->text == NULL)
				abort();
		}
		records->text[size++] = (char)c;
	}
	if (ferror(records->file))
		return errno ? -errno : -EIO;
	return (ssize_t)size;
}

/* 1 and the line with its end in records->text, 0 at the end of the input. */
static int next_line(struct records *records, size_t *size_out, struct rpc_error *error_out)
{
	ssize_t size = read_line(records);
	if (size == -EFBIG)
		return fail_reading(records, -EFBIG, "the next one has more than 64 MiB; is this the right --format?",
				    error_out);
	if (size < 0)
		return fail_reading(records, (int)size, strerror((int)-size), error_out);
	if (size == 0)
		return 0;
	records->offset += (uint64_t)size;
	records->line++;
	*size_out = (size_t)size;
	return 1;
}

static size_t without_line_end(const char *text, size_t size)
{
	if (size && text[size - 1] == '\n')
		size--;
	if (size && text[size - 1] == '\r')
		size--;
	return size;
}

static bool is_blank(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if (strchr(" \t\r\n", text[i]) == NULL || !text[i])
			return false;
	return true;
}

static uint8_t *copy(const void *bytes, size_t size)
{
	uint8_t *mine = malloc(size + 1); /* never malloc(0) */
	if (mine == NULL)
		abort();
	if (size)
		memcpy(mine, bytes, size);
	return mine;
}

static int bad_record(const struct records *records, uint64_t line, struct rpc_error *error_out, const char *what)
{
	snprintf(error_out->text, sizeof error_out->text, "%s:%" PRIu64 ": %s", records->name, line, what);
	return -EBADMSG;
}

static void finish(const struct records *records, struct record *record, uint64_t first_line)
{
	record->line = first_line;
	record->end_offset = records->offset;
	record->end_line = records->line;
}

/* ---- JSON lines ----------------------------------------------------------------------------------------------- */

/* Bytes of member `name`, or of `name`_b64. 1 found, 0 neither, -EBADMSG with a text. */
static int json_bytes(const struct records *records, const json_t *object, const char *name, uint8_t **bytes_out,
		      size_t *size_out, struct rpc_error *error_out)
{
	char base64_name[16], what[120];
	snprintf(base64_name, sizeof base64_name, "%s_b64", name);
	const json_t *plain = json_object_get(object, name), *base64 = json_object_get(object, base64_name);
	if (plain == NULL && base64 == NULL)
		return 0;
	if ((plain != NULL && base64 != NULL) || !json_is_string(plain != NULL ? plain : base64)) {
		snprintf(what, sizeof what, "give \"%s\" as text, or \"%s\" as base64url; one of them", name,
			 base64_name);
		return bad_record(records, records->line, error_out, what);
	}
	if (plain != NULL) {
		*size_out = json_string_length(plain);
		*bytes_out = copy(json_string_value(plain), *size_out);
		return 1;
	}
	size_t offset;
	if (base64_decode(json_string_value(base64), json_string_length(base64), bytes_out, size_out, &offset) < 0) {
		snprintf(what, sizeof what, "\"%s\" is no base64url: it breaks at character %zu", base64_name,
			 offset + 1);
		return bad_record(records, records->line, error_out, what);
	}
	return 1;
}

/* The first member that is no field of a record, NULL when there is none. */
static const char *unknown_field(const json_t *object)
{
	static const char *const FIELDS[] = {"key", "key_b64", "value", "value_b64"};
	const char *name;
	json_t *member;
	json_object_foreach((json_t *)object, name, member)
	{
		bool known = false;
		for (size_t i = 0; i < sizeof FIELDS / sizeof *FIELDS; i++)
			known |= !strcmp(FIELDS[i], name);
		if (!known)
			return name;
	}
	return NULL;
}

static int bad_field(const struct records *records, const char *name, struct rpc_error *error_out)
{
	char what[200];
	if (!strcmp(name, "siblings"))
		snprintf(what, sizeof what,
			 "the key has concurrent values (\"siblings\"): resolve them with kvctl put "
			 "--context first");
	else
		snprintf(what, sizeof what,
			 "there is no field \"%.60s\": a record has key or key_b64, and value or value_b64", name);
	return bad_record(records, records->line, error_out, what);
}

/* Names the key: whoever repairs the input looks for it. */
static int no_value(const struct records *records, const struct record *record, struct rpc_error *error_out)
{
	char what[200];
	int size = record->key_size > 100 ? 100 : (int)record->key_size;
	json_t *text = json_stringn((const char *)record->key, (size_t)size); /* NULL: no UTF-8 */
	snprintf(what, sizeof what, "%s%.*s%s: no value: give \"value\" (text) or \"value_b64\" (base64)",
		 text != NULL ? "'" : "", text != NULL ? size : 3, text != NULL ? (const char *)record->key : "key",
		 text != NULL ? "'" : "");
	json_decref(text);
	return bad_record(records, records->line, error_out, what);
}

static int take_json(struct records *records, const json_t *object, struct record *record, struct rpc_error *error_out)
{
	if (!json_is_object(object))
		return bad_record(records, records->line, error_out,
				  "each line is an object such as {\"key\": \"k\", \"value\": \"v\"}");
	const char *unknown = unknown_field(object);
	if (unknown != NULL)
		return bad_field(records, unknown, error_out);
	int has_key = json_bytes(records, object, "key", &record->key, &record->key_size, error_out);
	if (has_key < 0)
		return has_key;
	if (!has_key)
		return bad_record(records, records->line, error_out,
				  "there is no key: give \"key\" (text) or \"key_b64\" (base64url)");
	int has_value = json_bytes(records, object, "value", &record->value, &record->value_size, error_out);
	if (has_value < 0)
		return has_value;
	if (!has_value && records->requires_values)
		return no_value(records, record, error_out);
	return 1;
}

static int next_json(struct records *records, struct record *record, struct rpc_error *error_out)
{
	size_t size;
	int found;
	do
		found = next_line(records, &size, error_out);
	while (found == 1 && is_blank(records->text, size));
	if (found <= 0)
		return found;
	json_error_t why;
	json_t *object =
		json_loadb(records->text, size, JSON_ALLOW_NUL | JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &why);
	if (object == NULL) {
		char text[140];
		bool debian = size > 8 && !memcmp(records->text, "Package:", 8);
		snprintf(text, sizeof text, "no JSON: %.70s at character %d%s", why.text, why.position,
			 debian ? "; this looks like --format debian" : "");
		return bad_record(records, records->line, error_out, text);
	}
	found = take_json(records, object, record, error_out);
	json_decref(object);
	finish(records, record, records->line);
	return found;
}

/* ---- stanzas -------------------------------------------------------------------------------------------------- */

static const char PACKAGE[] = "Package:";

/* The name after "Package:", without blanks. */
static void take_package(const char *line, size_t size, struct record *record)
{
	size_t from = sizeof PACKAGE - 1, to = without_line_end(line, size);
	while (from < to && line[from] == ' ')
		from++;
	while (to > from && line[to - 1] == ' ')
		to--;
	record->key = copy(line + from, to - from);
	record->key_size = to - from;
}

static int next_stanza(struct records *records, struct record *record, struct rpc_error *error_out)
{
	char *value = NULL;
	size_t value_size = 0, size;
	uint64_t first_line = 0;
	FILE *stanza = open_memstream(&value, &value_size);
	if (stanza == NULL)
		abort();
	int found;
	while ((found = next_line(records, &size, error_out)) == 1) {
		if (is_blank(records->text, size)) {
			if (first_line)
				break;
			continue;
		}
		if (!first_line)
			first_line = records->line;
		if (record->key == NULL && size >= sizeof PACKAGE &&
		    !strncasecmp(records->text, PACKAGE, sizeof PACKAGE - 1))
			take_package(records->text, size, record);
		fwrite(records->text, 1, size, stanza);
		if (ftell(stanza) > LINE_SIZE_MAX) {
			found = fail_reading(records, -EFBIG,
					     "the stanza has more than 64 MiB; is this the right --format?", error_out);
			break;
		}
	}
	fclose(stanza);
	record->value = (uint8_t *)value;
	record->value_size = value_size;
	if (found < 0 || !first_line)
		return found;
	finish(records, record, first_line);
	if (record->key == NULL || !record->key_size)
		return bad_record(records, first_line, error_out,
				  "this stanza has no line 'Package: NAME', which is its key");
	return 1;
}

static int next_key(struct records *records, struct record *record, struct rpc_error *error_out)
{
	size_t size;
	int found;
	do
		found = next_line(records, &size, error_out);
	while (found == 1 && !without_line_end(records->text, size));
	if (found <= 0)
		return found;
	record->key_size = without_line_end(records->text, size);
	record->key = copy(records->text, record->key_size);
	finish(records, record, records->line);
	return 1;
}

int records_next(struct records *records, struct record *out, struct rpc_error *error_out)
{
	*out = (struct record){0};
	int found = 0;
	switch (records->format) {
	case RECORD_JSON_LINES:
		found = next_json(records, out, error_out);
		break;
	case RECORD_DEBIAN:
		found = next_stanza(records, out, error_out);
		break;
	case RECORD_KEYS:
		found = next_key(records, out, error_out);
		break;
	}
	if (found != 1)
		record_free(out);
	return found;
}
