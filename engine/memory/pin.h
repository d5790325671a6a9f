/* SPDX-License-Identifier: Apache-2.0 */
/* Pin: the count of references that keeps a memtable or a cached block in memory while its bytes are read.
 *
 * Threading   Any. The count of a block may pass below zero for a moment (see cache.h).
 */
#ifndef KVRING_ENGINE_PIN_H
#define KVRING_ENGINE_PIN_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum pin_kind { PIN_MEMTABLE, PIN_BLOCK };

/* First member of what it keeps. */
struct pin {
	_Atomic int64_t count;
	enum pin_kind kind;
};

static inline void pin_init(struct pin *pin, enum pin_kind kind)
{
	atomic_init(&pin->count, 1);
	pin->kind = kind;
}

static inline void pin_acquire(struct pin *pin)
{
	atomic_fetch_add_explicit(&pin->count, 1, memory_order_relaxed);
}

/* True for the last one. */
static inline bool pin_drop(struct pin *pin)
{
	return atomic_fetch_sub_explicit(&pin->count, 1, memory_order_acq_rel) == 1;
}

#endif
