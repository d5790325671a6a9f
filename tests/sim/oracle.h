/* SPDX-License-Identifier: Apache-2.0 */
/* Oracle: what clients did and saw, by operation id, and whether it can be right.
 *
 * Knows nothing of dots, vectors or objects. A write is told by its operation id and value; what a context covers is
 * known from where the client got it: a get's context covers the writes whose values came back, a put's the write
 * itself, and both all that these covered in turn. A get does not show deletes, so its context may also cover any
 * delete begun before it ended.
 *
 *     covered by Y  = the context given with Y names it, or names something that covers it
 *
 * Rules, of which the first broken one is kept as text:
 *     L1 An acknowledged write is live at the end, or covered by something live.
 *     L2 Every value read was written, by a put of this key, and to the byte.
 *     L3 A write that was refused for good is never seen.
 *     L4 Of two siblings none is covered by the other, unless a clock was truncated, or see L7.
 *     L5 With r + w > n a get that begins after an acknowledgement sees the write, or something that covers it.
 *     L6 A write that a get returned is durable: it, too, is live or covered at the end, acknowledged or not. (Unless a
 *        disk goes back in time: it may have been the only one. Nor while owners change: a read repairs those that reads go to.)
 *     L7 An operation takes effect at most once, and what was superseded does not come back: with r + w > n a get that
 *        begins after an acknowledgement returns nothing that the write covers. At the end L4 says the same. Unless a
 *        clock was truncated, or ORACLE_PAST_MAX newer writes of the key were repeated, of which the owners forget older
 *        ones; or as many were begun at all, and it or one of them asked for less
 *        than a majority: then who repeats it may not hear of what is known, and what was seen elsewhere (object.h) is more
 *        than is remembered.
 *
 * Threading   One thread.
 * Ownership   Sets are freed with oracle_set_fini.
 * Errors      Memory that is out aborts: this is a test.
 */
#ifndef KVRING_TESTS_SIM_ORACLE_H
#define KVRING_TESTS_SIM_ORACLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	ORACLE_VALUE_MAX = 8192,
	ORACLE_ID_SIZE = 16,
	ORACLE_START_S = 1700000000, /* Unix time when a run begins */
	ORACLE_PAST_MAX = 32,        /* superseded operations that a key remembers, of those that were repeated */
};
#define ORACLE_NONE UINT32_MAX

/* What a context covers directly. */
struct oracle_set {
	uint32_t *writes;
	uint32_t count;
	uint64_t deletes_before_us; /* and perhaps any delete of the key begun before this; 0: none */
};

enum oracle_answer { ORACLE_DONE, ORACLE_IN_DOUBT, ORACLE_REFUSED, ORACLE_SILENCE };

struct oracle_write {
	uint32_t key;
	uint32_t client;
	bool is_delete;
	struct oracle_set given;
	uint64_t begun_us;
	uint64_t acked_us; /* UINT64_MAX: never */
	uint32_t w;        /* replicas that acknowledged, owners only; 0: some stood in */
	uint32_t asked;    /* w of the request; 0: a majority */
	uint32_t attempts, refusals;
	bool ended, seen, read; /* seen: by anyone; read: by a get */
	bool repeated;          /* an owner was asked to run an attempt that was not the first */
	uint64_t stamp;
};

struct oracle {
	uint64_t seed;
	uint32_t replica_count;
	bool majorities; /* all that is asked for is one, of however many owners there are: owners change */
	bool disks_go_back; /* a directory is restored from a copy: what one replica alone held can be lost, and L6 rests */
	struct oracle_write *writes;
	uint32_t count, capacity;
	uint32_t *stack;
	uint64_t stamp;
	uint64_t reads, checks;
	uint64_t false_siblings; /* and superseded values that came back */
	/* the first broken rule */
	bool broken;
	uint32_t broken_key;
	char text[512];
	/* the first false sibling: a broken rule if no clock was truncated */
	uint32_t false_key;
	char false_text[512];
};

void oracle_init(struct oracle *, uint64_t seed, uint32_t replica_count);
void oracle_fini(struct oracle *);

struct oracle_set oracle_set_copy(const struct oracle_set *);
void oracle_set_fini(struct oracle_set *);

/* A new write; its number. */
uint32_t oracle_begin(struct oracle *, uint32_t client, uint32_t key, bool is_delete, const struct oracle_set *given,
		      uint64_t now_us);
/* By the clients' clocks, which are right. */
uint64_t oracle_unix_ms(uint64_t now_us);
/* A UUID version 7. */
void oracle_id(const struct oracle *, uint32_t write, uint8_t id_out[ORACLE_ID_SIZE]);
/* ORACLE_NONE when no write has this id. */
uint32_t oracle_find(const struct oracle *, const uint8_t id[ORACLE_ID_SIZE]);
/* The bytes that this write puts; its size. */
size_t oracle_value(const struct oracle *, uint32_t write, uint8_t value_out[ORACLE_VALUE_MAX]);
/* A node acknowledged, whether or not the client heard it. */
void oracle_acked(struct oracle *, uint32_t write, uint32_t owners, uint32_t stand_ins, uint64_t now_us);
/* An owner is asked to run a later attempt, of the client or of a coordinator that forwards. */
void oracle_repeated(struct oracle *, uint32_t write);
/* What the client heard of one attempt. */
void oracle_attempted(struct oracle *, uint32_t write, enum oracle_answer);
/* No more attempts. */
void oracle_ended(struct oracle *, uint32_t write);

struct oracle_bytes {
	const uint8_t *data;
	size_t size;
};

/* A get that began and ended then returned these values and, perhaps, a context. set_out: what that context covers. */
void oracle_read(struct oracle *, uint32_t key, uint32_t r, uint64_t begun_us, uint64_t ended_us,
		 const struct oracle_bytes *values, uint32_t value_count, bool has_context, struct oracle_set *set_out);
/* What every replica holds at the end: the ids live, deletes too. */
void oracle_final(struct oracle *, uint32_t key, const uint8_t (*ids)[ORACLE_ID_SIZE], uint32_t id_count);
/* The run is over: false siblings and what came back break a rule unless clocks were truncated. */
void oracle_close(struct oracle *, uint64_t truncations);
void oracle_break(struct oracle *, uint32_t key, const char *format, ...) __attribute__((format(printf, 3, 4)));

#endif
