/* SPDX-License-Identifier: Apache-2.0 */
#include <assert.h>
#include <errno.h>
#include <string.h>
#include "node/wire/codec.h"
#include "proto/kv.pb-c.h"

static const struct {
	const char *name;
	bool is_small;
} methods[METHOD_COUNT] = {
	[METHOD_UNKNOWN] = {""},
	[METHOD_PUT] = {"kvring.v1.Kv/Put"},
	[METHOD_GET] = {"kvring.v1.Kv/Get"},
	[METHOD_DELETE] = {"kvring.v1.Kv/Delete"},
	[METHOD_BATCH_PUT] = {"kvring.v1.Kv/BatchPut"},
	[METHOD_BATCH_GET] = {"kvring.v1.Kv/BatchGet"},
	[METHOD_INIT_CLUSTER] = {"kvring.v1.Admin/InitCluster", .is_small = true},
	[METHOD_SET_RACK] = {"kvring.v1.Admin/SetRack", .is_small = true},
	[METHOD_PLAN_CHANGE] = {"kvring.v1.Admin/PlanChange", .is_small = true},
	[METHOD_COMMIT_CHANGE] = {"kvring.v1.Admin/CommitChange", .is_small = true},
	[METHOD_ABORT_CHANGE] = {"kvring.v1.Admin/AbortChange", .is_small = true},
	[METHOD_FORCE_RING] = {"kvring.v1.Admin/ForceRing", .is_small = true},
	[METHOD_DESCRIBE] = {"kvring.v1.Admin/Describe", .is_small = true},
	[METHOD_STATUS] = {"kvring.v1.Admin/Status", .is_small = true},
	[METHOD_RING] = {"kvring.v1.Admin/Ring", .is_small = true},
	[METHOD_HEALTH] = {"kvring.v1.Health/Check", .is_small = true},
	[METHOD_STORE] = {"kvring.v1.Peer/Store"},
	[METHOD_FETCH] = {"kvring.v1.Peer/Fetch"},
	[METHOD_SCAN] = {"kvring.v1.Peer/Scan"},
	[METHOD_FORWARD] = {"kvring.v1.Peer/Forward"},
	[METHOD_VOTE] = {"kvring.v1.Peer/Vote", .is_small = true},
	[METHOD_GOSSIP] = {"kvring.v1.Peer/Gossip", .is_small = true},
};

enum method codec_method(struct rpc_slice name)
{
	for (enum method method = METHOD_UNKNOWN + 1; method < METHOD_COUNT; method++)
		if (rpc_method_is(name, methods[method].name))
			return method;
	return METHOD_UNKNOWN;
}

const char *codec_method_name(enum method method)
{
	assert(method < METHOD_COUNT);
	return methods[method].name;
}

bool codec_method_is_small(enum method method)
{
	assert(method < METHOD_COUNT);
	return methods[method].is_small;
}

uint32_t codec_code(int error)
{
	switch (error) {
	case 0:
		return KVRING__V1__CODE__OK;
	case -EBADMSG:
	case -EINVAL:
	case -EMSGSIZE:
		return KVRING__V1__CODE__INVALID_ARGUMENT;
	case -ENOSYS:
		return KVRING__V1__CODE__UNIMPLEMENTED;
	case -EPERM:
		return KVRING__V1__CODE__PERMISSION_DENIED;
	case -ENOMEM:
	case -EAGAIN:
	case -ENOSPC:
		return KVRING__V1__CODE__RESOURCE_EXHAUSTED;
	default:
		return KVRING__V1__CODE__INTERNAL;
	}
}
