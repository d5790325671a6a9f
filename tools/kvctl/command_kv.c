/* SPDX-License-Identifier: Apache-2.0 */
/* kvctl put, get, del: one key. */
#include "tools/kvctl/kvctl.h"
#include "tools/kvctl/base64.h"
#include "tools/kvctl/kv_arguments.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* ---- answers -------------------------------------------------------------------------------------------------- */

static int write_context(const struct kv_arguments *arguments, const ProtobufCBinaryData *context)
{
	if (arguments->context_path == NULL && !arguments->show_context)
		return KVCTL_DONE;
	char *text = base64_encode(context->data, context->len);
	if (arguments->show_context && !arguments->kvctl->json)
		fprintf(stderr, "context: %s\n", text);
	int status = KVCTL_DONE;
	if (arguments->context_path != NULL) {
		FILE *file = fopen(arguments->context_path, "we");
		bool written = file != NULL && fprintf(file, "%s\n", text) > 0;
		if (file == NULL || fclose(file) || !written)
			status = kvctl_fail(arguments->kvctl, KVCTL_OUTPUT, "cannot write the context to %s: %s",
					    arguments->context_path, strerror(errno));
	}
	free(text);
	return status;
}

static void set_context(json_t *object, const char *name, const ProtobufCBinaryData *context)
{
	char *text = base64_encode(context->data, context->len);
	json_object_set_new(object, name, json_string(text != NULL ? text : ""));
	free(text);
}

static void hex_of(const uint8_t *id, char text_out[2 * RPC_OPERATION_ID_SIZE + 1])
{
	for (unsigned i = 0; i < RPC_OPERATION_ID_SIZE; i++)
		sprintf(text_out + 2 * i, "%02x", id[i]);
}

static void print_put_json(const struct kv_client_reply *reply, const Kvring__V1__PutRequest *request)
{
	const Kvring__V1__PutResponse *put = reply->put;
	char id[2 * RPC_OPERATION_ID_SIZE + 1];
	hex_of(reply->operation_id, id);
	json_t *object = json_pack("{s:s, s:i, s:i, s:i, s:i, s:s}", "outcome", kvctl_outcome_name(put->outcome),
				   "acks_owners", put->acks_owners, "acks_fallbacks", put->acks_fallbacks, "synced",
				   put->synced, "needed", put->needed, "operation_id", id);
	if (put->code)
		json_object_set_new(object, "code", json_string(kvctl_code_name(put->code)));
	if (put->message != NULL && *put->message)
		json_object_set_new(object, "message", json_string(put->message));
	set_context(object, "context", &put->context);
	if (put->outcome == KVRING__V1__OUTCOME__IN_DOUBT) /* to repeat it */
		set_context(object, "request_context", &request->context);
	kvctl_print_json(object);
}

/* How to repeat a write that is in doubt: the same version, replacing the same. */
static char *repeat_advice(const struct kv_client_reply *reply, const Kvring__V1__PutRequest *request)
{
	char id[2 * RPC_OPERATION_ID_SIZE + 1], *advice;
	char *context = base64_encode(request->context.data, request->context.len);
	hex_of(reply->operation_id, id);
	int size = asprintf(&advice, "%s%s --operation-id %s", request->context.len ? "--context " : "--blind",
			    request->context.len && context != NULL ? context : "", id);
	free(context);
	if (size < 0)
		abort();
	return advice;
}

static void print_put_text(const struct kvctl *kvctl, const struct kv_client_reply *reply,
			   const Kvring__V1__PutRequest *request)
{
	const Kvring__V1__PutResponse *put = reply->put;
	if (put->outcome == KVRING__V1__OUTCOME__DONE) {
		printf("done: on stable storage at %u %s, %u needed", put->synced, put->synced == 1 ? "node" : "nodes",
		       put->needed);
		printf(put->acks_fallbacks ? " (%u standing in for an owner)\n" : "\n", put->acks_fallbacks);
		return;
	}
	const char *why = kvctl_reason(put->message, put->code);
	if (put->outcome != KVRING__V1__OUTCOME__IN_DOUBT) {
		fprintf(stderr, "%s: refused: %s\n", kvctl->command, why);
		return;
	}
	char *advice = repeat_advice(reply, request);
	fprintf(stderr,
		"%s: in doubt: %s.\n"
		"  The write may or may not be read later. Repeat it with %s: it cannot apply twice.\n",
		kvctl->command, why, advice);
	free(advice);
}

static int answer_put(const struct kv_arguments *arguments, const Kvring__V1__PutRequest *request,
		      const struct kv_client_reply *reply)
{
	int status = kvctl_outcome_exit(reply->put->outcome, reply->put->code);
	if (arguments->kvctl->json)
		print_put_json(reply, request);
	else
		print_put_text(arguments->kvctl, reply, request);
	int written = status == KVCTL_DONE ? write_context(arguments, &reply->put->context) : KVCTL_DONE;
	return status == KVCTL_DONE ? written : status;
}

/* A write that no node answered. */
static int fail_put(const struct kvctl *kvctl, const Kvring__V1__PutRequest *request,
		    const struct kv_client_reply *reply)
{
	if (!reply->in_doubt)
		return kvctl_fail_call(kvctl, reply);
	char *advice = repeat_advice(reply, request);
	int status = kvctl_fail(kvctl, KVCTL_IN_DOUBT,
				"%s\n  The write may or may not have taken effect. Repeat it with %s: it cannot apply "
				"twice.",
				reply->text, advice);
	free(advice);
	return status;
}

/* ---- put and del ---------------------------------------------------------------------------------------------- */

/* clang-format off */
#define BUCKET_OPTION {"bucket", 'b', "NAME", 0, "Bucket of the key (default: default)", 1}
#define KEY_OPTION {"base64-key", 'k', NULL, 0, "KEY is base64url: for keys that are no text", 1}
#define CONTEXT_OPTION \
	{"context", OPTION_CONTEXT, "BASE64URL", 0, "Replace what was read with this context (default: what a read just before the write returns)", 1}
#define BLIND_OPTION \
	{"blind", OPTION_BLIND, NULL, 0, "Do not read first: saves a round trip on a new key; a value that is there stays beside the new one", 1}
#define R_BEFORE_OPTION \
	{"r", OPTION_R, "COUNT|LEVEL", 0, "Replicas that must answer the read before the write (default: as many as --w, or the cluster's)", 1}
#define W_OPTION {"w", OPTION_W, "COUNT|LEVEL", 0, "Replicas that must have it on stable storage (default: the cluster's)", 1}
#define CONTEXT_OUT_OPTIONS \
	{"context-out", OPTION_CONTEXT_OUT, "FILE", 0, "Write the context of the answer to FILE", 1}, \
	{"show-context", OPTION_SHOW_CONTEXT, NULL, 0, "Print the context of the answer on stderr", 1}
#define OPERATION_ID_OPTION \
	{"operation-id", OPTION_OPERATION_ID, "HEX", 0, "Repeat an operation that is in doubt: it cannot apply twice", 1}
/* clang-format on */

/* A write covers what its context covers. Without one given, read it: the plain command replaces what is there. */
static int read_context(const struct kvctl *kvctl, struct kvctl_replicas r, Kvring__V1__PutRequest *request,
			struct kv_bytes *bytes, bool must_exist)
{
	Kvring__V1__GetRequest get = KVRING__V1__GET_REQUEST__INIT;
	get.bucket = request->bucket;
	get.key = request->key;
	/* who asks for fewer acknowledgements must not fail for want of more answers */
	bool given = r.count != 0 || r.level != 0;
	get.r = given ? r.count : request->w;
	get.level = given ? r.level : request->level;
	struct kv_client_reply reply;
	int status = KVCTL_DONE;
	if (kv_client_get(kvctl->client, &get, &reply) < 0) {
		reply.in_doubt = false; /* nothing has been written yet */
		status = kvctl_fail_call(kvctl, &reply);
	} else if (reply.get->outcome == KVRING__V1__OUTCOME__ABSENT && must_exist) {
		status = kvctl_fail(kvctl, KVCTL_NOT_FOUND, "not found: there is nothing to delete");
	} else if (reply.get->code == KVRING__V1__CODE__INVALID_ARGUMENT) {
		status = kvctl_fail(kvctl, KVCTL_USAGE, "%s%s", kvctl_reason(reply.get->message, reply.get->code),
				    get.r && !given ? "\n  The read before the write asks as many replicas as --w."
						    : "");
	} else if (reply.get->outcome != KVRING__V1__OUTCOME__DONE &&
		   reply.get->outcome != KVRING__V1__OUTCOME__ABSENT) {
		bool unreadable = reply.get->code == KVRING__V1__CODE__UNAVAILABLE ||
				  reply.get->code == KVRING__V1__CODE__DEADLINE_EXCEEDED;
		status = kvctl_fail(kvctl, KVCTL_REFUSED, "could not read what to replace: %s%s",
				    kvctl_reason(reply.get->message, reply.get->code),
				    unreadable ? "\n  --r COUNT asks fewer replicas; --context or --blind writes "
						 "without reading first."
					       : "");
	} else if (reply.get->context.len) {
		size_t size = reply.get->context.len;
		bytes->context = malloc(size);
		if (bytes->context == NULL)
			abort();
		memcpy(bytes->context, reply.get->context.data, size);
		request->context.data = bytes->context;
		request->context.len = size;
	}
	kv_client_reply_release(&reply);
	return status;
}

static const struct argp_option put_options[] = {
	BUCKET_OPTION,
	KEY_OPTION,
	{"file", 'f', "FILE", 0, "Take the value from FILE; - is stdin", 1},
	CONTEXT_OPTION,
	BLIND_OPTION,
	{"ttl", OPTION_TTL, "DURATION", 0, "The value ends after this time, such as 30s, 10m, 1h or 7d", 1},
	R_BEFORE_OPTION,
	W_OPTION,
	OPERATION_ID_OPTION,
	CONTEXT_OUT_OPTIONS,
	{0},
};

static const struct argp put_argp = {
	.options = put_options,
	.parser = kv_arguments_parse,
	.args_doc = "KEY VALUE\nKEY -\n-f FILE KEY",
	.doc = "Stores a value, as it is to the byte. It replaces what a read returns at that moment, or what "
	       "--context "
	       "covers; a value that somebody else writes at the same time stays beside it."
	       "\vExamples:\n"
	       "  kvctl put greeting 'hello there'\n"
	       "  kvctl put -f logo.png images/logo\n"
	       "  date | kvctl put started -\n"
	       "  kvctl get --context-out ctx cart; kvctl put cart 'milk, eggs' --context \"$(cat ctx)\"",
	.children = kvctl_argp_child,
};

int command_put(struct kvctl *kvctl, int argc, char **argv)
{
	struct kv_arguments arguments = {.kvctl = kvctl, .argument_max = 2};
	struct kv_bytes bytes = {0};
	Kvring__V1__PutRequest request = KVRING__V1__PUT_REQUEST__INIT;
	argp_parse(&put_argp, argc, argv, 0, NULL, &arguments);
	int status = kv_arguments_put(&arguments, &bytes, &request);
	if (status == KVCTL_DONE)
		status = kv_arguments_value(&arguments, &bytes, &request.value);
	if (status == KVCTL_DONE)
		status = kvctl_connect(kvctl);
	if (status == KVCTL_DONE && arguments.context == NULL && !arguments.blind)
		status = read_context(kvctl, arguments.r, &request, &bytes, false);
	if (status == KVCTL_DONE) {
		struct kv_client_reply reply;
		status = kv_client_put(kvctl->client, &request, &reply) < 0 ? fail_put(kvctl, &request, &reply)
									    : answer_put(&arguments, &request, &reply);
		kv_client_reply_release(&reply);
	}
	kv_bytes_free(&bytes);
	return status;
}

static const struct argp_option del_options[] = {
	BUCKET_OPTION,
	KEY_OPTION,
	CONTEXT_OPTION,
	{"blind", OPTION_BLIND, NULL, 0,
	 "Do not read first: without --context that deletes nothing which is there, and only says that it was done", 1},
	R_BEFORE_OPTION,
	W_OPTION,
	OPERATION_ID_OPTION,
	CONTEXT_OUT_OPTIONS,
	{0},
};

static const struct argp del_argp = {
	.options = del_options,
	.parser = kv_arguments_parse,
	.args_doc = "KEY",
	.doc = "Deletes what a read returns at that moment, or what --context covers. A value that somebody else "
	       "writes at the "
	       "same time stays."
	       "\vExamples:\n"
	       "  kvctl del greeting\n"
	       "  kvctl get --context-out ctx cart; kvctl del cart --context \"$(cat ctx)\"",
	.children = kvctl_argp_child,
};

int command_del(struct kvctl *kvctl, int argc, char **argv)
{
	struct kv_arguments arguments = {.kvctl = kvctl, .argument_max = 1};
	struct kv_bytes bytes = {0};
	Kvring__V1__PutRequest request = KVRING__V1__PUT_REQUEST__INIT;
	argp_parse(&del_argp, argc, argv, 0, NULL, &arguments);
	int status = kv_arguments_put(&arguments, &bytes, &request);
	if (status == KVCTL_DONE)
		status = kvctl_connect(kvctl);
	if (status == KVCTL_DONE && arguments.context == NULL && !arguments.blind)
		status = read_context(kvctl, arguments.r, &request, &bytes, true);
	if (status == KVCTL_DONE) {
		struct kv_client_reply reply;
		status = kv_client_delete(kvctl->client, &request, &reply) < 0
				 ? fail_put(kvctl, &request, &reply)
				 : answer_put(&arguments, &request, &reply);
		kv_client_reply_release(&reply);
	}
	kv_bytes_free(&bytes);
	return status;
}

/* ---- get ------------------------------------------------------------------------------------------------------ */

static void format_time(uint64_t unix_ms, char *text_out, size_t size)
{
	time_t seconds = (time_t)(unix_ms / 1000);
	struct tm utc;
	char date[32];
	gmtime_r(&seconds, &utc);
	strftime(date, sizeof date, "%Y-%m-%d %H:%M:%S", &utc);
	snprintf(text_out, size, "%s.%03u UTC", date, (unsigned)(unix_ms % 1000));
}

/* The raw value: what `kvctl get k > file` must be. On a terminal a missing line end is added. */
static void print_single(const Kvring__V1__Sibling *sibling)
{
	const ProtobufCBinaryData *value = &sibling->value;
	if (value->len)
		fwrite(value->data, 1, value->len, stdout);
	if (isatty(STDOUT_FILENO) && (!value->len || value->data[value->len - 1] != '\n'))
		putchar('\n');
}

static void print_siblings(const struct kv_arguments *arguments, const Kvring__V1__GetResponse *get)
{
	char *context = base64_encode(get->context.data, get->context.len);
	for (size_t i = 0; i < get->n_siblings; i++) {
		const Kvring__V1__Sibling *sibling = get->siblings[i];
		char when[64];
		format_time(sibling->written_ms, when, sizeof when);
		printf("--- value %zu of %zu, %zu bytes, written %s\n", i + 1, get->n_siblings, sibling->value.len,
		       when);
		kvctl_print_bytes(stdout, sibling->value.data, sibling->value.len);
		putchar('\n');
	}
	printf("--- context %s\n", context != NULL ? context : "");
	fprintf(stderr,
		"%s: %zu values were written concurrently. Choose or merge, then write one with their context:\n"
		"  kvctl put --context %s %s'%s' VALUE\n",
		arguments->kvctl->command, get->n_siblings, context != NULL ? context : "",
		arguments->key_is_base64 ? "-k " : "", arguments->key);
	free(context);
}

static void print_get_json(const Kvring__V1__GetResponse *get)
{
	json_t *object = json_pack("{s:s, s:i, s:i, s:o}", "outcome", kvctl_outcome_name(get->outcome), "replies",
				   get->replies, "needed", get->needed, "siblings", kvctl_siblings_json(get));
	if (get->code)
		json_object_set_new(object, "code", json_string(kvctl_code_name(get->code)));
	if (get->message != NULL && *get->message)
		json_object_set_new(object, "message", json_string(get->message));
	set_context(object, "context", &get->context);
	kvctl_print_json(object);
}

static void print_not_found(const struct kv_arguments *arguments)
{
	fprintf(stderr, "%s: not found: ", arguments->kvctl->command);
	kvctl_print_key(stderr, (const uint8_t *)arguments->key, strlen(arguments->key));
	fputc('\n', stderr);
}

static bool is_invalid(uint32_t code)
{
	return code == KVRING__V1__CODE__INVALID_ARGUMENT;
}

static void print_get_text(const struct kv_arguments *arguments, const Kvring__V1__GetResponse *get)
{
	const char *command = arguments->kvctl->command;
	if (get->outcome == KVRING__V1__OUTCOME__ABSENT)
		print_not_found(arguments);
	else if (get->outcome != KVRING__V1__OUTCOME__DONE &&
		 (!get->needed || is_invalid(get->code))) /* none was asked */
		fprintf(stderr, "%s: refused: %s\n", command, kvctl_reason(get->message, get->code));
	else if (get->outcome != KVRING__V1__OUTCOME__DONE)
		fprintf(stderr, "%s: %u of %u replicas answered: %s\n  Try again, or ask fewer with --r.\n", command,
			get->replies, get->needed, kvctl_reason(get->message, get->code));
	else if (get->n_siblings == 1)
		print_single(get->siblings[0]);
	else
		print_siblings(arguments, get);
}

static const struct argp_option get_options[] = {
	BUCKET_OPTION,
	KEY_OPTION,
	{"r", OPTION_R, "COUNT|LEVEL", 0,
	 "Replicas that must answer, or one, two, quorum, all, local-one, local-quorum, each-quorum (default: the "
	 "cluster's)",
	 1},
	CONTEXT_OUT_OPTIONS,
	/* not offered, and named here so that it is no abbreviation of --context-out */
	{"context", OPTION_CONTEXT, "BASE64URL", OPTION_HIDDEN, NULL, 1},
	{0},
};

static const struct argp get_argp = {
	.options = get_options,
	.parser = kv_arguments_parse,
	.args_doc = "KEY",
	.doc = "Prints the value of a key: its bytes and nothing else (on a terminal, a final line end). When values "
	       "were "
	       "written concurrently, prints each after a line '--- value I of N, SIZE bytes, written TIME' and then "
	       "'--- context BASE64URL'; values that are no UTF-8 are shown as base64. Scripts take -o json, which "
	       "always has the form {outcome, siblings: [{value or value_b64, written_ms}], context, replies, needed}."
	       "\vExamples:\n"
	       "  kvctl get greeting\n"
	       "  kvctl get --r 3 images/logo > logo.png\n"
	       "  kvctl get -o json cart",
	.children = kvctl_argp_child,
};

int command_get(struct kvctl *kvctl, int argc, char **argv)
{
	struct kv_arguments arguments = {.kvctl = kvctl, .argument_max = 1};
	struct kv_bytes bytes = {0};
	Kvring__V1__GetRequest request = KVRING__V1__GET_REQUEST__INIT;
	argp_parse(&get_argp, argc, argv, 0, NULL, &arguments);
	if (arguments.context != NULL)
		return kvctl_fail(kvctl, KVCTL_USAGE, "a get takes no --context; --context-out FILE writes it down");
	request.r = arguments.r.count;
	request.level = arguments.r.level;
	kv_arguments_bucket(&arguments, &request.bucket);
	int status = kv_arguments_key(&arguments, &bytes, &request.key);
	if (status == KVCTL_DONE)
		status = kvctl_connect(kvctl);
	if (status == KVCTL_DONE) {
		struct kv_client_reply reply;
		if (kv_client_get(kvctl->client, &request, &reply) < 0) {
			status = kvctl_fail_call(kvctl, &reply);
		} else {
			status = kvctl_outcome_exit(reply.get->outcome, reply.get->code);
			if (kvctl->json)
				print_get_json(reply.get);
			else
				print_get_text(&arguments, reply.get);
			int written = write_context(&arguments, &reply.get->context);
			status = status == KVCTL_DONE ? written : status;
		}
		kv_client_reply_release(&reply);
	}
	kv_bytes_free(&bytes);
	return status;
}
