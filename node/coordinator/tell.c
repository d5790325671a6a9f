/* SPDX-License-Identifier: Apache-2.0 */
/* What a coordinator tells operators: requests that are slow, large, or refused for want of a resource. Keys stay where the
 * request has them: its message is delivered after the notes. */
#include "node/coordinator/operation.h"
#include "node/object/limit.h"
#include "rpc/base.h"

enum { SLOW_US = 500 * 1000 };

void coordinator_tell_request(const struct client_request *request, struct effects *out)
{
	for (uint32_t i = 0; i < request->count; i++) {
		const struct client_operation *operation = &request->operations[i];
		if (operation->value.size > LIMIT_VALUE_WARN_SIZE)
			effects_note(out, &(struct note){.kind = NOTE_LARGE_VALUE,
							 .key = operation->key,
							 .count = operation->value.size});
	}
}

static void tell_slow(const struct client_request *request, uint64_t now_us, struct effects *out)
{
	if (request->received_us == 0 || now_us < request->received_us + SLOW_US)
		return;
	effects_note(out, &(struct note){.kind = NOTE_SLOW_REQUEST,
					 .count = now_us - request->received_us,
					 .id = request->trace_id,
					 .method = request->method});
}

void coordinator_tell_answer(const struct client_request *request, uint64_t now_us, struct effects *out)
{
	struct note overload = {.kind = NOTE_OVERLOAD};
	tell_slow(request, now_us, out);
	for (uint32_t i = 0; i < request->count; i++) {
		const struct client_result *result = &request->results[i];
		if (result->sibling_count > LIMIT_SIBLINGS_WARN)
			effects_note(out, &(struct note){.kind = NOTE_MANY_SIBLINGS,
							 .key = request->operations[i].key,
							 .count = result->sibling_count});
		if (result->code != RPC_CODE_RESOURCE_EXHAUSTED)
			continue;
		overload.text = result->message;
		overload.count++;
	}
	if (overload.count > 0)
		effects_note(out, &overload);
}
