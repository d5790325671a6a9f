/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/state.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>
#include "rpc/operation_id.h"

static int fail(struct rpc_error *error_out, int error, const char *path, const char *what)
{
	snprintf(error_out->text, sizeof error_out->text, "%s: %s", path, what);
	return error;
}

enum { RESUME_MS_MAX = 8 * 60 * 1000 }; /* within the default of retry-window-s */

static uint64_t unix_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static int make_new(uint64_t input_size, struct state *out, struct rpc_error *error_out)
{
	*out = (struct state){.input_size = input_size, .time_ms = unix_ms()};
	if (getrandom(&out->id, sizeof out->id, 0) != sizeof out->id)
		return fail(error_out, -errno, "random numbers", strerror(errno));
	return 0;
}

int state_load(const char *path, uint64_t input_size, struct state *out, struct rpc_error *error_out)
{
	FILE *file = path != NULL ? fopen(path, "re") : NULL;
	if (file == NULL && (path == NULL || errno == ENOENT))
		return make_new(input_size, out, error_out);
	if (file == NULL)
		return fail(error_out, -errno, path, strerror(errno));
	*out = (struct state){.resumed = true};
	int count = fscanf(file,
			   "kvring-transfer 1 input %" SCNu64 " id %" SCNx64 " offset %" SCNu64 " line %" SCNu64
			   " records %" SCNu64 " output %" SCNu64 " time %" SCNu64,
			   &out->input_size, &out->id, &out->offset, &out->line, &out->record_count, &out->output_size,
			   &out->time_ms);
	fclose(file);
	if (unix_ms() > out->time_ms + RESUME_MS_MAX)
		out->time_ms = unix_ms();
	if (count != 6 && count != 7) /* 6: by a version that kept no time */
		return fail(error_out, -EBADMSG, path,
			    "is no state of an import or export; name another file, or remove it to start over");
	if (out->input_size != input_size || out->offset > input_size) {
		snprintf(error_out->text, sizeof error_out->text,
			 "%s belongs to an input of %" PRIu64 " bytes, this one has %" PRIu64
			 "; remove it to start over",
			 path, out->input_size, input_size);
		return -EBADMSG;
	}
	return 0;
}

static bool write_state(const char *path, const struct state *state)
{
	FILE *file = fopen(path, "we");
	if (file == NULL)
		return false;
	int size = fprintf(file,
			   "kvring-transfer 1\ninput %" PRIu64 "\nid %016" PRIx64 "\noffset %" PRIu64 "\nline %" PRIu64
			   "\nrecords %" PRIu64 "\noutput %" PRIu64 "\ntime %" PRIu64 "\n",
			   state->input_size, state->id, state->offset, state->line, state->record_count,
			   state->output_size, state->time_ms);
	return fclose(file) == 0 && size > 0;
}

void state_begin_window(struct state *state)
{
	state->time_ms = unix_ms();
	state->resumed = false;
}

int state_save(const char *path, const struct state *state, struct rpc_error *error_out)
{
	if (path == NULL)
		return 0;
	char *beside = NULL;
	if (asprintf(&beside, "%s.new", path) < 0)
		abort();
	int error = write_state(beside, state) && rename(beside, path) == 0 ? 0 : -errno;
	if (error < 0)
		(void)fail(error_out, error, path, strerror(-error));
	free(beside);
	return error;
}

void state_operation_id(const struct state *state, uint64_t record_end_offset, uint8_t id_out[RPC_OPERATION_ID_SIZE])
{
	const uint64_t seed[2] = {state->id, record_end_offset};
	XXH128_canonical_t hash;
	XXH128_canonicalFromHash(&hash, XXH3_128bits(seed, sizeof seed));
	rpc_operation_id_make(state->time_ms, hash.digest, id_out);
}
