/* SPDX-License-Identifier: Apache-2.0 */
#include "node/wire/codec_event.h"

#include <assert.h>
#include "proto/event.pb-c.h"

int codec_event_encode(const struct node_event *what, struct rpc_message **out)
{
	Kvring__V1__Event event = KVRING__V1__EVENT__INIT;
	Kvring__V1__MemberChanged member = KVRING__V1__MEMBER_CHANGED__INIT;
	Kvring__V1__RingChanged ring = KVRING__V1__RING_CHANGED__INIT;
	Kvring__V1__SlowRequest slow = KVRING__V1__SLOW_REQUEST__INIT;
	Kvring__V1__Overload overload = KVRING__V1__OVERLOAD__INIT;
	Kvring__V1__Autoscale autoscale = KVRING__V1__AUTOSCALE__INIT;

	assert(what->node_id != 0);
	assert(what->name != NULL || what->type == NODE_EVENT_RING_CHANGED);
	event.node_id = what->node_id;
	event.cluster_id = what->cluster_id;
	event.time_ms = what->unix_ms;
	switch (what->type) {
	case NODE_EVENT_MEMBER_CHANGED:
		member.member = what->id;
		member.name = (char *)what->name;
		member.state = (char *)what->state;
		event.what_case = KVRING__V1__EVENT__WHAT_MEMBER_CHANGED;
		event.member_changed = &member;
		break;
	case NODE_EVENT_RING_CHANGED:
		ring.epoch = what->count;
		ring.ring_hash = what->id;
		event.what_case = KVRING__V1__EVENT__WHAT_RING_CHANGED;
		event.ring_changed = &ring;
		break;
	case NODE_EVENT_SLOW_REQUEST:
		slow.method = (char *)what->name;
		slow.micros = what->count;
		slow.trace_id = what->id;
		event.what_case = KVRING__V1__EVENT__WHAT_SLOW_REQUEST;
		event.slow_request = &slow;
		break;
	case NODE_EVENT_OVERLOAD:
		overload.what = (char *)what->name;
		overload.refused = what->count;
		event.what_case = KVRING__V1__EVENT__WHAT_OVERLOAD;
		event.overload = &overload;
		break;
	case NODE_EVENT_AUTOSCALE:
		autoscale.member = what->id;
		autoscale.change = (char *)what->name;
		autoscale.why = (char *)what->text;
		autoscale.state = (char *)what->state;
		event.what_case = KVRING__V1__EVENT__WHAT_AUTOSCALE;
		event.autoscale = &autoscale;
		break;
	}
	return rpc_bare_encode(&event.base, out);
}
