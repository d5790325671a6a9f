/* SPDX-License-Identifier: Apache-2.0 */
/* Balance: the rows of a board brought between the least and the most of every node, by few steps.
 *
 *     1  returns  places go back to previous owners who were pushed out: no data moves
 *     2  steps    a hole, or else a place of the row's fullest node, goes to the node that is emptiest for its share;
 *                 until every node is between least and most
 *     3  chains   where no direct step is left: chain.h. A placement exists (share.h), so by the augmenting path theorem
 *                 chains reach it.
 *
 * Partitions are walked in an order drawn by hash, and the turns of takers are drawn by hash, so that the owners of
 * neighbours are independent, and everything is the same on every machine (R4).
 *
 * Threading   one thread owns a board.
 * Ownership   borrows the board.
 * Errors      -ENOMEM. An assertion when no placement exists: shares that do not follow share.h.
 */
#ifndef KVRING_RING_BALANCE_H
#define KVRING_RING_BALANCE_H

#include "ring/claim/board.h"

/* All holes filled, every node between least and most. After board_turn_to_first_places the same for first places: only
 * the order within rows changes. */
RING_OK int balance_run(struct board *);

#endif
