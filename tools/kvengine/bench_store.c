/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "tools/kvengine/bench_worker.h"
#include "tools/kvengine/scratch.h"

int bench_open_engine(struct bench *bench)
{
	struct engine_error why;
	int error = engine_open(&bench->options->engine, &bench->engine, &why);

	if (error)
		fprintf(stderr, "kvengine bench: %s\n", why.text);
	return error;
}

static int drain(struct bench *bench)
{
	int error = 0;

	for (uint32_t i = 0; error == 0 && i < engine_shard_count(bench->engine); i++)
		error = jobs_drain(bench->jobs, engine_shard(bench->engine, i));
	return error;
}

int bench_settle(struct bench *bench)
{
	int error = 0;

	for (uint32_t i = 0; error == 0 && i < engine_shard_count(bench->engine); i++)
		error = shard_request_flush(engine_shard(bench->engine, i));
	return error ? error : drain(bench);
}

int bench_close_engine(struct bench *bench)
{
	int error;

	if (bench->engine == NULL)
		return 0;
	error = drain(bench);
	return error ? error : engine_close(&bench->engine);
}

int bench_empty_store(struct bench *bench)
{
	int error = bench_close_engine(bench);

	return error ? error : scratch_empty(bench->options->engine.directory);
}
