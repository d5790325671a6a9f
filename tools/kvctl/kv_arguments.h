/* SPDX-License-Identifier: Apache-2.0 */
/* Arguments of put, get and del, and how they become a request.
 *
 * Threading   One thread.
 * Ownership   A request points into struct kv_arguments (argv) and struct kv_bytes; kv_bytes_free when it has been
 *             used.
 * Errors      Exit statuses of kvctl.h, with the text printed.
 */
#ifndef KVRING_KVCTL_KV_ARGUMENTS_H
#define KVRING_KVCTL_KV_ARGUMENTS_H

#include "tools/kvctl/kvctl.h"

enum {
	OPTION_R = 1000,
	OPTION_W,
	OPTION_CONTEXT,
	OPTION_CONTEXT_OUT,
	OPTION_SHOW_CONTEXT,
	OPTION_OPERATION_ID,
	OPTION_TTL,
	OPTION_BLIND,
};

/* The arguments of the three commands; each uses its part. */
struct kv_arguments {
	struct kvctl *kvctl;
	unsigned argument_max; /* 1: KEY, 2: KEY and VALUE */
	const char *key;
	bool key_is_base64;
	const char *value_argument; /* NULL: none */
	const char *value_path;     /* NULL: none */
	const char *bucket;
	const char *context;      /* base64url; NULL: none */
	bool blind;               /* do not read a context first */
	const char *context_path; /* where to write the context of the answer */
	bool show_context;
	const char *operation_id; /* hex */
	struct kvctl_replicas r, w;
	uint64_t ttl_ms;
};

/* Bytes behind the pointers of a request; freed together. */
struct kv_bytes {
	uint8_t *key, *value, *context;
	uint8_t operation_id[RPC_OPERATION_ID_SIZE];
};

/* The argp parser of the three commands; its input is a struct kv_arguments. */
error_t kv_arguments_parse(int key, char *arg, struct argp_state *);

void kv_bytes_free(struct kv_bytes *);
int kv_arguments_key(const struct kv_arguments *, struct kv_bytes *, ProtobufCBinaryData *key_out);
void kv_arguments_bucket(const struct kv_arguments *, ProtobufCBinaryData *bucket_out);
int kv_arguments_value(const struct kv_arguments *, struct kv_bytes *, ProtobufCBinaryData *value_out);
/* All of a PutRequest but the value. */
int kv_arguments_put(const struct kv_arguments *, struct kv_bytes *, Kvring__V1__PutRequest *out);

#endif
