/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/client/client_method.h"

#include <assert.h>

static const struct kv_client_method_row rows[CLIENT_METHOD_COUNT] = {
	[CLIENT_PUT] = {"kvring.v1.Kv/Put", &kvring__v1__put_request__descriptor, &kvring__v1__put_response__descriptor,
			true, true},
	[CLIENT_GET] = {"kvring.v1.Kv/Get", &kvring__v1__get_request__descriptor, &kvring__v1__get_response__descriptor,
			false, true},
	[CLIENT_DELETE] = {"kvring.v1.Kv/Delete", &kvring__v1__put_request__descriptor,
			   &kvring__v1__put_response__descriptor, true, true},
	[CLIENT_BATCH_PUT] = {"kvring.v1.Kv/BatchPut", &kvring__v1__batch_put_request__descriptor,
			      &kvring__v1__batch_put_response__descriptor, true, true},
	[CLIENT_BATCH_GET] = {"kvring.v1.Kv/BatchGet", &kvring__v1__batch_get_request__descriptor,
			      &kvring__v1__batch_get_response__descriptor, false, true},
	[CLIENT_INIT_CLUSTER] = {"kvring.v1.Admin/InitCluster", &kvring__v1__init_request__descriptor,
				 &kvring__v1__init_response__descriptor, true, false},
	[CLIENT_SET_RACK] = {"kvring.v1.Admin/SetRack", &kvring__v1__set_rack_request__descriptor,
			     &kvring__v1__init_response__descriptor, true, true},
	[CLIENT_PLAN_CHANGE] = {"kvring.v1.Admin/PlanChange", &kvring__v1__change_request__descriptor,
				&kvring__v1__change_plan__descriptor, false, true},
	[CLIENT_COMMIT_CHANGE] = {"kvring.v1.Admin/CommitChange", &kvring__v1__change_request__descriptor,
				  &kvring__v1__change_plan__descriptor, true, true},
	[CLIENT_ABORT_CHANGE] = {"kvring.v1.Admin/AbortChange", &kvring__v1__abort_request__descriptor,
				 &kvring__v1__init_response__descriptor, true, true},
	[CLIENT_FORCE_RING] = {"kvring.v1.Admin/ForceRing", &kvring__v1__force_request__descriptor,
			       &kvring__v1__init_response__descriptor, true, true},
	[CLIENT_DESCRIBE] = {"kvring.v1.Admin/Describe", &kvring__v1__describe_request__descriptor,
			     &kvring__v1__node_status__descriptor, false, true},
	[CLIENT_STATUS] = {"kvring.v1.Admin/Status", &kvring__v1__status_request__descriptor,
			   &kvring__v1__status_response__descriptor, false, true},
	[CLIENT_RING] = {"kvring.v1.Admin/Ring", &kvring__v1__ring_request__descriptor,
			 &kvring__v1__ring_response__descriptor, false, true},
	[CLIENT_HEALTH] = {"kvring.v1.Health/Check", &kvring__v1__health_request__descriptor,
			   &kvring__v1__health_response__descriptor, false, true},
};

const struct kv_client_method_row *kv_client_method_row(enum kv_client_method method)
{
	assert(method < CLIENT_METHOD_COUNT);
	return &rows[method];
}
