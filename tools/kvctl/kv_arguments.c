/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/kv_arguments.h"
#include "tools/kvctl/base64.h"
#include "tools/kvctl/value.h"

#include <stdlib.h>
#include <string.h>
#include "rpc/operation_id.h"

#define TTL_MAX_MS (UINT64_C(1000) * 365 * 86400 * 1000) /* a thousand years */

static void take_ttl(struct kv_arguments *arguments, char *arg, struct argp_state *state)
{
	if (!kvctl_parse_duration(arg, TTL_MAX_MS, &arguments->ttl_ms))
		argp_error(state, "--ttl is a duration such as 500ms, 30s, 10m, 1h or 7d, up to 365000d, not '%s'",
			   arg);
}

static void take_argument(struct kv_arguments *arguments, char *arg, struct argp_state *state)
{
	if (state->arg_num == 0)
		arguments->key = arg;
	else if (state->arg_num < arguments->argument_max)
		arguments->value_argument = arg;
	else
		argp_error(state, "one argument too many: '%s'. Put quotes around what holds blanks.", arg);
}

error_t kv_arguments_parse(int key, char *arg, struct argp_state *state)
{
	struct kv_arguments *arguments = state->input;
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = arguments->kvctl;
		return 0;
	case 'b':
		arguments->bucket = arg;
		return 0;
	case 'k':
		arguments->key_is_base64 = true;
		return 0;
	case 'f':
		arguments->value_path = arg;
		return 0;
	case OPTION_R:
		arguments->r = kvctl_parse_replicas(state, "--r", arg);
		return 0;
	case OPTION_W:
		arguments->w = kvctl_parse_replicas(state, "--w", arg);
		return 0;
	case OPTION_CONTEXT:
		arguments->context = arg;
		return 0;
	case OPTION_CONTEXT_OUT:
		arguments->context_path = arg;
		return 0;
	case OPTION_SHOW_CONTEXT:
		arguments->show_context = true;
		return 0;
	case OPTION_OPERATION_ID:
		arguments->operation_id = arg;
		return 0;
	case OPTION_TTL:
		take_ttl(arguments, arg, state);
		return 0;
	case OPTION_BLIND:
		arguments->blind = true;
		return 0;
	case ARGP_KEY_ARG:
		take_argument(arguments, arg, state);
		return 0;
	case ARGP_KEY_END:
		if (arguments->key == NULL)
			argp_error(state, "which KEY?");
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

void kv_bytes_free(struct kv_bytes *bytes)
{
	free(bytes->key);
	free(bytes->value);
	free(bytes->context);
}

static int decode_base64(const struct kvctl *kvctl, const char *what, const char *text, uint8_t **bytes_out,
			 size_t *size_out)
{
	size_t offset = 0;
	if (base64_decode(text, strlen(text), bytes_out, size_out, &offset) < 0)
		return kvctl_fail(kvctl, KVCTL_USAGE, "%s is no base64url: it breaks at character %zu of '%.60s'", what,
				  offset + 1, text);
	return KVCTL_DONE;
}

int kv_arguments_key(const struct kv_arguments *arguments, struct kv_bytes *bytes, ProtobufCBinaryData *key)
{
	int status = KVCTL_DONE;
	if (arguments->key_is_base64) {
		status = decode_base64(arguments->kvctl, "KEY", arguments->key, &bytes->key, &key->len);
		key->data = bytes->key;
	} else {
		key->data = (uint8_t *)arguments->key;
		key->len = strlen(arguments->key);
	}
	if (status == KVCTL_DONE && key->len == 0)
		status = kvctl_fail(arguments->kvctl, KVCTL_USAGE, "the key is empty: a key has at least one byte");
	return status;
}

void kv_arguments_bucket(const struct kv_arguments *arguments, ProtobufCBinaryData *bucket)
{
	bucket->data = (uint8_t *)arguments->bucket;
	bucket->len = arguments->bucket != NULL ? strlen(arguments->bucket) : 0;
}

static int take_operation_id(const struct kv_arguments *arguments, struct kv_bytes *bytes, ProtobufCBinaryData *id)
{
	const char *hex = arguments->operation_id;
	if (hex == NULL)
		return KVCTL_DONE;
	bool wrong =
		strlen(hex) != 2 * sizeof bytes->operation_id || strspn(hex, "0123456789abcdefABCDEF") != strlen(hex);
	if (wrong)
		return kvctl_fail(arguments->kvctl, KVCTL_USAGE, "--operation-id is %zu hexadecimal digits, not '%s'",
				  2 * sizeof bytes->operation_id, hex);
	for (size_t i = 0; i < sizeof bytes->operation_id; i++) {
		const char digits[3] = {hex[2 * i], hex[2 * i + 1]};
		bytes->operation_id[i] = (uint8_t)strtoul(digits, NULL, 16);
	}
	id->data = bytes->operation_id;
	id->len = sizeof bytes->operation_id;
	return KVCTL_DONE;
}

/* One of its own, unless it was given. */
static int need_operation_id(const struct kv_arguments *arguments, struct kv_bytes *bytes,
			     Kvring__V1__PutRequest *request)
{
	if (request->operation_id.len > 0)
		return KVCTL_DONE;
	if (kv_client_operation_id(bytes->operation_id) < 0)
		return kvctl_fail(arguments->kvctl, KVCTL_USAGE, "the system gives no random numbers");
	request->operation_id = (ProtobufCBinaryData){sizeof bytes->operation_id, bytes->operation_id};
	request->attempt = 1;
	return KVCTL_DONE;
}

int kv_arguments_value(const struct kv_arguments *arguments, struct kv_bytes *bytes, ProtobufCBinaryData *value)
{
	const char *path = arguments->value_path, *argument = arguments->value_argument;
	if (path != NULL && argument != NULL)
		return kvctl_fail(arguments->kvctl, KVCTL_USAGE,
				  "give the value once: as an argument, or with -f FILE");
	if (argument != NULL && !strcmp(argument, "-"))
		path = argument;
	if (path == NULL && argument == NULL)
		return kvctl_fail(arguments->kvctl, KVCTL_USAGE,
				  "which value? Give it after the key, as -f FILE, or as - for stdin");
	if (path == NULL) {
		value->data = (uint8_t *)argument;
		value->len = strlen(argument);
		return KVCTL_DONE;
	}
	struct rpc_error error;
	if (value_read_file(path, &bytes->value, &value->len, &error) < 0)
		return kvctl_fail(arguments->kvctl, KVCTL_USAGE, "%s", error.text);
	value->data = bytes->value;
	return KVCTL_DONE;
}

int kv_arguments_put(const struct kv_arguments *arguments, struct kv_bytes *bytes, Kvring__V1__PutRequest *request)
{
	int status = kv_arguments_key(arguments, bytes, &request->key);
	if (status == KVCTL_DONE)
		status = take_operation_id(arguments, bytes, &request->operation_id);
	if (status == KVCTL_DONE && arguments->context != NULL) {
		status = decode_base64(arguments->kvctl, "--context", arguments->context, &bytes->context,
				       &request->context.len);
		request->context.data = bytes->context;
	}
	kv_arguments_bucket(arguments, &request->bucket);
	request->w = arguments->w.count;
	request->level = arguments->w.level;
	/* From the time of the operation, not of this attempt: a repeated one must say the same. */
	if (status == KVCTL_DONE && arguments->ttl_ms) {
		uint64_t begun_ms;
		status = need_operation_id(arguments, bytes, request);
		(void)rpc_operation_id_time(bytes->operation_id, &begun_ms);
		request->expires_ms = begun_ms + arguments->ttl_ms;
	}
	return status;
}
