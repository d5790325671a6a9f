/* SPDX-License-Identifier: Apache-2.0 */
/* Writes one table file (sst_format.h), front to back.
 *
 * Threading   One user.
 * Ownership   The file is open until finish or abort; both free everything. abort removes the file.
 * Errors      What the file system returns, -ENOMEM. After an error only abort may follow.
 */
#ifndef KVRING_ENGINE_SST_WRITER_H
#define KVRING_ENGINE_SST_WRITER_H

#include "engine/table/sst_format.h"

struct sst_options {
	size_t block_bytes;
	uint32_t filter_bits_per_key;
	enum engine_compression compression;
};

struct sst_writer;

ENGINE_OK int sst_writer_create(const struct files *, uint64_t number, const struct sst_options *,
				struct sst_writer **out);
/* Keys ascend strictly. */
ENGINE_OK int sst_writer_add(struct sst_writer *, struct engine_slice key, struct engine_slice value, enum entry_type);
/* Bytes so far, roughly. */
uint64_t sst_writer_size(const struct sst_writer *);
/* Writes the rest and syncs the file (not its directory). meta_out is the caller's to free. Needs an entry at least. */
ENGINE_OK int sst_writer_finish(struct sst_writer **, struct table_meta *meta_out);
void sst_writer_abort(struct sst_writer **);

#endif
