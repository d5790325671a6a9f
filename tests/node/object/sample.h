/* SPDX-License-Identifier: Apache-2.0 */
/* Sample: objects for tests, in one arena. A call that fails fails the test. */
#ifndef KVRING_TESTS_NODE_SAMPLE_H
#define KVRING_TESTS_NODE_SAMPLE_H

#include "node/object/object.h"
#include "tests/node/support.h"

extern struct arena *sample_arena;
extern const struct rpc_slice sample_key;
extern const struct object sample_nothing;
extern const struct context sample_blind;

/* Of the group. */
int sample_set_up(void **state);
int sample_tear_down(void **state);
struct sibling sample_sibling(uint64_t actor, uint64_t counter, const char *value);
/* That is to be added, whatever else. */
struct object sample_put(const struct object *old, const struct context *context, struct sibling added);
struct context sample_context(const struct object *object);
struct object sample_merge(const struct object *a, const struct object *b);
struct rpc_slice sample_encode(const struct object *object);
struct object sample_decode(struct rpc_slice bytes);
/* All that the format has: two siblings, one of them with an alias, a tombstone with an expiry, a seen dot. */
struct object sample_full(void);
struct object sample_try_put(const struct object *old, const struct context *context, struct sibling added,
			     struct object_terms terms, enum object_put_result *result_out);
struct sibling sample_tombstone(uint64_t actor, uint64_t counter);

#endif
