/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>
#include "node/wire/codec.h"
#include "proto/kv.pb-c.h"

static const char *const method_names[] = {
	[METHOD_UNKNOWN] = "",
	[METHOD_PUT] = "kvring.v1.Kv/Put",
	[METHOD_GET] = "kvring.v1.Kv/Get",
	[METHOD_DELETE] = "kvring.v1.Kv/Delete",
	[METHOD_BATCH_PUT] = "kvring.v1.Kv/BatchPut",
	[METHOD_BATCH_GET] = "kvring.v1.Kv/BatchGet",
	[METHOD_INIT_CLUSTER] = "kvring.v1.Admin/InitCluster",
	[METHOD_DESCRIBE] = "kvring.v1.Admin/Describe",
	[METHOD_STATUS] = "kvring.v1.Admin/Status",
	[METHOD_RING] = "kvring.v1.Admin/Ring",
	[METHOD_HEALTH] = "kvring.v1.Health/Check",
	[METHOD_STORE] = "kvring.v1.Peer/Store",
	[METHOD_FETCH] = "kvring.v1.Peer/Fetch",
	[METHOD_FORWARD] = "kvring.v1.Peer/Forward",
	[METHOD_GOSSIP] = "kvring.v1.Peer/Gossip",
};

enum { METHOD_COUNT = sizeof method_names / sizeof method_names[0] };

enum method codec_method(struct rpc_slice name)
{
	for (int method = METHOD_UNKNOWN + 1; method < METHOD_COUNT; method++)
		if (rpc_method_is(name, method_names[method]))
			return (enum method)method;
	return METHOD_UNKNOWN;
}

const char *codec_method_name(enum method method)
{
	return method_names[method];
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
