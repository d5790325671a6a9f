/* SPDX-License-Identifier: Apache-2.0 */
/* Figures on the wire: the one table of which number of a node is which field. Private to the codec.
 *
 * Threading   Pure functions.
 */
#ifndef KVRING_NODE_FIGURES_H
#define KVRING_NODE_FIGURES_H

#include "proto/kv.pb-c.h"
#include "proto/peer.pb-c.h"
#include "ring/ring.h"

void figures_pack_row(const struct ring_figures *, Kvring__V1__MemberRow *out);
void figures_unpack_row(const Kvring__V1__MemberRow *, struct ring_figures *out);
/* What operators are shown. */
void figures_pack_status(const struct ring_figures *, Kvring__V1__NodeStatus *out);

#endif
