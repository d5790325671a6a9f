/* SPDX-License-Identifier: Apache-2.0 */
/* Standing: whether this node serves clients, by the ring view that gossip published.
 *
 * A node that serves nobody answers UNAVAILABLE for the call as a whole: clients then ask the next node of their list.
 *
 * Threading   A pure function over a ring view, inside its acquire and release.
 * Errors      None.
 */
#ifndef KVRING_NODE_STANDING_H
#define KVRING_NODE_STANDING_H

#include "ring/ring.h"

/* NULL when it serves; else a text for the client: what is wrong and what to do. A literal. */
const char *standing_refusal(const struct ring_view *);

#endif
