/* SPDX-License-Identifier: Apache-2.0 */
/* Plan: what people ask for, checked, as a document without owners.
 *
 * Threading   pure.
 * Ownership   the document is the caller's.
 * Errors      -ENOMEM; -EINVAL with a text that names the member or datacenter and what to change.
 * Invariants  the document passes every check that ring_document_decode makes.
 */
#ifndef KVRING_RING_PLAN_H
#define KVRING_RING_PLAN_H

#include "ring/document.h"

RING_OK int plan_to_document(const struct ring_plan *, const struct ring_document *previous, struct ring_document **out,
			     struct ring_error *error_out);

#endif
