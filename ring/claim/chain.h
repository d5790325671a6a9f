/* SPDX-License-Identifier: Apache-2.0 */
/* Chains: where no node can give a place to one that needs it, a takes from b what b takes from c.
 *
 * The chain that moves least goes first, and of those the one with fewest steps (Dijkstra over nodes). A node can give a
 * place to nearly every other, so the search keeps the nodes that it has not reached, by rack: each place looks only at
 * those, and leaves only those behind that must not take it. A search costs the nodes, and the places that it looks at,
 * each once.
 *
 * Threading   one thread owns a board.
 * Ownership   borrows the board.
 * Errors      -ENOMEM: the board is as the chains so far left it.
 */
#ifndef KVRING_RING_CHAIN_H
#define KVRING_RING_CHAIN_H

#include "ring/claim/board.h"

/* Until the tier is finished or no chain is left. */
RING_OK int chains_make(struct board *, struct tier);
/* The same, but each place goes only to a previous owner of its partition, whom a smaller N or the racks pushed out: no data
 * moves. Before anything else. */
RING_OK int chains_return(struct board *, struct tier);

#endif
