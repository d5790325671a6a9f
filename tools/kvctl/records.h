/* SPDX-License-Identifier: Apache-2.0 */
/* Records: the inputs of import, compare and export, one record at a time.
 *
 *     json lines   {"key": TEXT or "key_b64": BASE64, "value": TEXT or "value_b64": BASE64}, one object per line; another
 *                  field is an error, because ignoring it would lose what it was meant to say
 *     debian       stanzas as apt-cache dumpavail prints them, separated by blank lines; the key is the name after
 *                  "Package: ", the value the whole stanza with its final line end
 *     keys         one key per line, no values
 *
 * Threading   One thread per reader.
 * Ownership   record_free frees the bytes of a record; the reader keeps none of them.
 * Errors      records_next: -EBADMSG with "FILE:LINE: what, and what to do": the next call goes on behind that record;
 *             -errno of read.
 */
#ifndef KVRING_KVCTL_RECORDS_H
#define KVRING_KVCTL_RECORDS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "rpc/rpc.h"

enum record_format { RECORD_JSON_LINES, RECORD_DEBIAN, RECORD_KEYS };

struct record {
	uint8_t *key, *value; /* malloc'ed; value NULL with RECORD_KEYS and where a JSON line has none */
	size_t key_size, value_size;
	uint64_t line;       /* the record's first, from 1 */
	uint64_t end_offset; /* in the input, after the record and what separates it from the next */
	uint64_t end_line;   /* lines read up to there */
};

struct records; /* a reader */

/* path "-" is stdin. Starts at offset, of which `line` lines came before; both 0 for the beginning. */
RPC_OK int records_open(const char *path, enum record_format, uint64_t offset, uint64_t line, struct records **out,
			struct rpc_error *error_out);
void records_close(struct records **);
/* From now on a JSON line without a value is an error too. */
void records_require_values(struct records *);
/* 1 and a record, 0 at the end. */
RPC_OK int records_next(struct records *, struct record *out, struct rpc_error *error_out);
void record_free(struct record *);

/* Size of the input, 0 when it cannot be known (a pipe). */
uint64_t records_input_size(const struct records *);
/* False: no format of this name. */
bool records_parse_format(const char *name, enum record_format *out);

#endif
