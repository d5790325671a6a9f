/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/kvctl.h"
#include "tools/kvctl/base64.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* ---- arguments ------------------------------------------------------------------------------------------------ */

/* Milliseconds of a unit, 0 for none that is known. */
static double unit_ms(const char *unit)
{
	static const struct {
		const char *name;
		double ms;
	} UNITS[] = {{"", 1e3}, {"ms", 1}, {"s", 1e3}, {"m", 60e3}, {"h", 3600e3}, {"d", 86400e3}};
	for (size_t i = 0; i < sizeof UNITS / sizeof *UNITS; i++)
		if (!strcmp(UNITS[i].name, unit))
			return UNITS[i].ms;
	return 0;
}

bool kvctl_parse_duration(const char *text, uint64_t max_ms, uint64_t *ms_out)
{
	char *unit;
	errno = 0;
	double number = strtod(text, &unit);
	double ms = number * unit_ms(unit);
	if (unit == text || errno || !(ms >= 1 && ms <= (double)max_ms))
		return false;
	*ms_out = (uint64_t)ms;
	return true;
}

uint32_t kvctl_parse_number(struct argp_state *state, const char *name, const char *text, uint32_t min, uint32_t max)
{
	char *end;
	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	if (end == text || *end || *text == '-' || errno || number < min || number > max)
		argp_error(state, "%s is a number from %" PRIu32 " to %" PRIu32 ", not '%s'", name, min, max, text);
	return (uint32_t)number;
}

enum { REPLICAS_MAX = 128 }; /* 8 in each of 16 datacenters */

struct kvctl_replicas kvctl_parse_replicas(struct argp_state *state, const char *name, const char *text)
{
	static const char *const levels[] = {
		[KVRING__V1__LEVEL__LEVEL_ONE] = "one",
		[KVRING__V1__LEVEL__LEVEL_TWO] = "two",
		[KVRING__V1__LEVEL__LEVEL_QUORUM] = "quorum",
		[KVRING__V1__LEVEL__LEVEL_ALL] = "all",
		[KVRING__V1__LEVEL__LEVEL_LOCAL_ONE] = "local-one",
		[KVRING__V1__LEVEL__LEVEL_LOCAL_QUORUM] = "local-quorum",
		[KVRING__V1__LEVEL__LEVEL_EACH_QUORUM] = "each-quorum",
	};
	char plain[16];
	size_t size = strlen(text);
	for (size_t i = 0; i <= size && i < sizeof plain; i++)
		plain[i] = (char)(text[i] == '_' ? '-' : tolower((unsigned char)text[i]));
	for (size_t i = 1; i < sizeof levels / sizeof *levels && size < sizeof plain; i++)
		if (!strcmp(plain, levels[i]))
			return (struct kvctl_replicas){.level = (Kvring__V1__Level)i};
	char *end;
	errno = 0;
	unsigned long number = strtoul(text, &end, 10);
	if (end == text || *end || *text == '-' || errno || number < 1 || number > REPLICAS_MAX)
		argp_error(state,
			   "%s is a number of replicas from 1 to %d, or one, two, quorum, all, local-one, "
			   "local-quorum or each-quorum, not '%s'",
			   name, REPLICAS_MAX, text);
	return (struct kvctl_replicas){.count = (uint32_t)number};
}

static error_t parse_common(int key, char *arg, struct argp_state *state)
{
	struct kvctl *kvctl = state->input;
	uint64_t ms = 0;
	switch (key) {
	case 'e':
		kvctl->endpoints = arg;
		return 0;
	case 'o':
		if (strcmp(arg, "text") && strcmp(arg, "json"))
			argp_error(state, "-o is text or json, not '%s'", arg);
		kvctl->json = !strcmp(arg, "json");
		return 0;
	case 't':
		if (!kvctl_parse_duration(arg, KVCTL_TIMEOUT_MAX_MS, &ms))
			argp_error(state, "--timeout is a duration such as 500ms, 5s or 2m, up to 7d, not '%s'", arg);
		kvctl->timeout_ms = (uint32_t)ms;
		return 0;
	case 'h':
		argp_state_help(state, stdout, ARGP_HELP_STD_HELP);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

error_t kvctl_parse_nothing(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = state->input;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "takes no argument, not '%s'", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option common_options[] = {
	{"endpoints", 'e', "HOST:PORT[,...]", 0,
	 "Nodes to ask; the next one is taken when one does not answer (default: $KVRING_ENDPOINTS)", 100},
	{"output", 'o', "text|json", 0, "Form of the result on stdout (default: text)", 100},
	{"timeout", 't', "DURATION", 0, "For a whole call, such as 500ms, 5s or 2m (default: 5s)", 100},
	{NULL, 'h', NULL, OPTION_HIDDEN, NULL, 100},
	{0},
};

static const struct argp common_argp = {.options = common_options, .parser = parse_common};
const struct argp_child kvctl_argp_child[] = {{.argp = &common_argp}, {0}};

enum { CONNECT_MS = 1000 }; /* for the other nodes, when the first one is in no cluster */

/* ---- connection ----------------------------------------------------------------------------------------------- */

int kvctl_connect(struct kvctl *kvctl)
{
	if (kvctl->endpoints == NULL || !*kvctl->endpoints)
		return kvctl_fail(kvctl, KVCTL_USAGE,
				  "no node to ask: give -e HOST:PORT, or set KVRING_ENDPOINTS=HOST:PORT,HOST:PORT");
	struct kv_client_options options = {
		.endpoints = kvctl->endpoints,
		.timeout_ms = kvctl->timeout_ms,
		/* less than the whole, so that "nobody there" is told apart from "no answer" */
		.connect_ms = kvctl->timeout_ms < 4000 ? kvctl->timeout_ms / 2 + 1 : 2000,
	};
	struct rpc_error error;
	int failed = kv_client_open(&options, &kvctl->client, &error);
	if (failed < 0)
		return kvctl_fail(kvctl, failed == -EINVAL ? KVCTL_USAGE : KVCTL_UNREACHABLE, "%s", error.text);
	return KVCTL_DONE;
}

int kvctl_status(const struct kvctl *kvctl, struct kv_client_reply *reply)
{
	int error = kv_client_status(kvctl->client, reply);
	unsigned count = kv_client_endpoint_count(kvctl->client);
	if (error == 0 && reply->cluster->cluster_id == 0 &&
	    kv_client_wait_connected(kvctl->client, count, CONNECT_MS) < 0)
		error = 0; /* those that are connected are asked */
	for (unsigned i = 0; error == 0 && i < count && reply->cluster->cluster_id == 0; i++) {
		struct kv_client_reply other = {0};
		if (kv_client_endpoint_connected(kvctl->client, i) &&
		    kv_client_status_of(kvctl->client, i, &other) == 0 && other.cluster->cluster_id != 0) {
			kv_client_reply_release(reply);
			*reply = other;
		} else {
			kv_client_reply_release(&other);
		}
	}
	return error;
}

int kvctl_ask_cluster(struct kvctl *kvctl, struct kv_client_reply *reply)
{
	*reply = (struct kv_client_reply){0};
	int status = kvctl_connect(kvctl);
	if (status != KVCTL_DONE)
		return status;
	if (kvctl_status(kvctl, reply) < 0)
		return kvctl_fail_call(kvctl, reply);
	if (reply->cluster->cluster_id == 0)
		return kvctl_fail(kvctl, KVCTL_REFUSED,
				  "this node is in no cluster yet: ask a member (-e HOST:PORT), or make a cluster with "
				  "`kvctl cluster init HOST:PORT...`");
	return KVCTL_DONE;
}

/* ---- output --------------------------------------------------------------------------------------------------- */

static int fail(const struct kvctl *kvctl, int status, const char *code, const char *text)
{
	fflush(stdout);
	fprintf(stderr, "%s: %s\n", kvctl->command, text);
	if (kvctl->json)
		kvctl_print_json(
			code != NULL ? json_pack("{s:s, s:s, s:i}", "error", text, "code", code, "exit_status", status)
				     : json_pack("{s:s, s:i}", "error", text, "exit_status", status));
	return status;
}

int kvctl_fail(const struct kvctl *kvctl, int status, const char *format, ...)
{
	char text[4096];
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	return fail(kvctl, status, NULL, text);
}

static int exit_of_reply(const struct kv_client_reply *reply)
{
	if (reply->in_doubt)
		return KVCTL_IN_DOUBT;
	switch (reply->status) {
	case -EINVAL:
	case -EMSGSIZE:
		return KVCTL_USAGE;
	case -EHOSTUNREACH:
	case -ETIMEDOUT:
	case -ECONNRESET:
	case -EBADMSG:
		return KVCTL_UNREACHABLE;
	default:
		return KVCTL_REFUSED;
	}
}

static const char *advice(const struct kvctl *kvctl, const struct kv_client_reply *reply)
{
	if (reply->in_doubt)
		return "\n  It may or may not have taken effect.";
	if (reply->status == -ETIMEDOUT)
		return "\n  --timeout DURATION waits longer.";
	if (reply->status == -EBADMSG)
		return "\n  Is this the client port of a kvring node, and of this version?";
	if (exit_of_reply(reply) == KVCTL_UNREACHABLE && strchr(kvctl->endpoints, ',') == NULL)
		return "\n  -e takes several nodes: HOST:PORT,HOST:PORT; the next one is asked when one does not "
		       "answer.";
	return "";
}

int kvctl_fail_call(const struct kvctl *kvctl, const struct kv_client_reply *reply)
{
	char text[sizeof reply->text + 256];
	int status = exit_of_reply(reply);
	snprintf(text, sizeof text, "%s%s", reply->text, advice(kvctl, reply));
	return fail(kvctl, status, kvctl_code_name(reply->code), text);
}

int kvctl_fail_connect(const struct kvctl *kvctl, unsigned endpoint)
{
	char why[CLIENT_EXPLAIN_SIZE];
	kv_client_endpoint_explain(kvctl->client, endpoint, why);
	return kvctl_fail(kvctl, KVCTL_UNREACHABLE, "no connection within %" PRIu32 " ms to %s", kvctl->timeout_ms,
			  why);
}

void kvctl_print_json(json_t *document)
{
	json_dumpf(document, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(9));
	putchar('\n');
	json_decref(document);
}

int kvctl_outcome_exit(Kvring__V1__Outcome outcome, uint32_t code)
{
	if (outcome == KVRING__V1__OUTCOME__DONE)
		return KVCTL_DONE;
	if (outcome == KVRING__V1__OUTCOME__ABSENT)
		return KVCTL_NOT_FOUND;
	if (outcome == KVRING__V1__OUTCOME__IN_DOUBT)
		return KVCTL_IN_DOUBT;
	return code == KVRING__V1__CODE__INVALID_ARGUMENT ? KVCTL_USAGE : KVCTL_REFUSED;
}

const char *kvctl_outcome_name(Kvring__V1__Outcome outcome)
{
	const ProtobufCEnumValue *value =
		protobuf_c_enum_descriptor_get_value(&kvring__v1__outcome__descriptor, (int)outcome);
	return value != NULL ? value->name : "UNKNOWN";
}

const char *kvctl_code_name(uint32_t code)
{
	const ProtobufCEnumValue *value =
		protobuf_c_enum_descriptor_get_value(&kvring__v1__code__descriptor, (int)code);
	return value != NULL ? value->name : "UNKNOWN";
}

const char *kvctl_reason(const char *message, uint32_t code)
{
	return message != NULL && *message ? message : kvctl_code_name(code);
}

static bool is_utf8(const uint8_t *bytes, size_t size)
{
	/* jansson knows the rules (no overlong forms, no surrogates) */
	json_t *text = json_stringn(size ? (const char *)bytes : "", size);
	bool valid = text != NULL;
	json_decref(text);
	return valid;
}

void kvctl_json_set_bytes(json_t *object, const char *name, const uint8_t *bytes, size_t size)
{
	json_t *text = json_stringn(size ? (const char *)bytes : "", size);
	if (text != NULL) {
		json_object_set_new(object, name, text);
		return;
	}
	char base64_name[64];
	snprintf(base64_name, sizeof base64_name, "%s_b64", name);
	char *base64 = base64_encode(bytes, size);
	if (base64 != NULL)
		json_object_set_new(object, base64_name, json_string(base64));
	free(base64);
}

json_t *kvctl_siblings_json(const Kvring__V1__GetResponse *get)
{
	json_t *siblings = json_array();
	for (size_t i = 0; i < get->n_siblings; i++) {
		json_t *sibling = json_object();
		kvctl_json_set_bytes(sibling, "value", get->siblings[i]->value.data, get->siblings[i]->value.len);
		json_object_set_new(sibling, "written_ms", json_integer((json_int_t)get->siblings[i]->written_ms));
		json_array_append_new(siblings, sibling);
	}
	return siblings;
}

/* Text without control characters: a terminal shows it, and does nothing else. */
static bool is_plain(const uint8_t *bytes, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		bool c1 = bytes[i] == 0xc2 && i + 1 < size && bytes[i + 1] < 0xa0;
		if (bytes[i] < ' ' || bytes[i] == 0x7f || c1)
			return false;
	}
	return is_utf8(bytes, size);
}

void kvctl_print_key(FILE *file, const uint8_t *bytes, size_t size)
{
	if (is_plain(bytes, size)) {
		fprintf(file, "'%.*s'", (int)size, (const char *)bytes);
		return;
	}
	char *base64 = base64_encode(bytes, size);
	if (base64 != NULL)
		fprintf(file, "base64:%s", base64);
	free(base64);
}

void kvctl_print_bytes(FILE *file, const uint8_t *bytes, size_t size)
{
	if (!size)
		return;
	if (is_utf8(bytes, size)) {
		fwrite(bytes, 1, size, file);
		return;
	}
	char *base64 = base64_encode(bytes, size);
	if (base64 != NULL)
		fprintf(file, "base64:%s", base64);
	free(base64);
}
