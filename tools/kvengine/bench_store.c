/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "tools/kvengine/bench_worker.h"
#include "tools/kvengine/scratch.h"

int bench_open_engine(struct bench *bench)
{
	struct engine_error error;
	int rc = engine_open(&bench->options->engine, &bench->engine, &error);

	if (rc)
		fprintf(stderr, "kvengine bench: %s\n", error.text);
	return rc;
}

static int drain(struct bench *bench)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < engine_shard_count(bench->engine); i++)
		rc = jobs_drain(bench->jobs, engine_shard(bench->engine, i));
	return rc;
}

int bench_settle(struct bench *bench)
{
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && i < engine_shard_count(bench->engine); i++)
		rc = shard_request_flush(engine_shard(bench->engine, i));
	return rc ? rc : drain(bench);
}

int bench_close_engine(struct bench *bench)
{
	int rc;

	if (bench->engine == NULL)
		return 0;
	rc = drain(bench);
	return rc ? rc : engine_close(&bench->engine);
}

int bench_empty_store(struct bench *bench)
{
	int rc = bench_close_engine(bench);

	return rc ? rc : scratch_empty(bench->options->engine.directory);
}
