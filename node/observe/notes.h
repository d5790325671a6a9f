/* SPDX-License-Identifier: Apache-2.0 */
/* Notes of actors (node/actor/note.h) become lines of the log, and events on the bus for tools that listen (event.proto).
 *
 * What may come often is told at most once per interval from each thread; the line then says how much was left out, or
 * counts it in.
 *
 * Threading   Each struct: its worker's thread.
 * Ownership   Borrows the note for the call; the event points into it.
 * Errors      None.
 */
#ifndef KVRING_NODE_NOTES_H
#define KVRING_NODE_NOTES_H

#include "node/actor/note.h"
#include "node/observe/log.h"
#include "node/wire/codec_event.h"

struct notes {
	struct {
		struct log_limit limit;
		uint64_t held; /* sum of the counts that were left out */
	} kinds[NOTE_KIND_COUNT];
};

/* Writes the line, unless one of this kind was written just before. True: and this event is for the bus. */
bool notes_tell(struct notes *, const struct note *, uint64_t now_us, struct node_event *event_out);

#endif
