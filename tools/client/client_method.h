/* SPDX-License-Identifier: Apache-2.0 */
/* Method: name, messages and nature of each call of client.h.
 *
 * Threading   Constants.
 */
#ifndef KVRING_CLIENT_METHOD_H
#define KVRING_CLIENT_METHOD_H

#include "tools/client/client.h"

struct kv_client_method_row {
	const char *name;
	const ProtobufCMessageDescriptor *request;
	const ProtobufCMessageDescriptor *response;
	bool writes;     /* may leave its sender in doubt */
	bool repeatable; /* C2: harmless when it is executed twice */
};

const struct kv_client_method_row *kv_client_method_row(enum kv_client_method);

#endif
