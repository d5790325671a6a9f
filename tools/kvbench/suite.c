/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvbench/suite.h"
#include "tools/kvbench/report.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct workload WORKLOADS[] = {
	{"A", "half reads, half updates", {50, 50, 0}, CHOOSER_ZIPFIAN},
	{"B", "95 % reads, 5 % updates", {95, 5, 0}, CHOOSER_ZIPFIAN},
	{"C", "reads only", {100, 0, 0}, CHOOSER_ZIPFIAN},
	{"F", "half reads, half read-modify-writes", {50, 0, 50}, CHOOSER_ZIPFIAN},
	{"U", "updates only (not of YCSB)", {0, 100, 0}, CHOOSER_UNIFORM},
};
enum { WORKLOAD_COUNT = sizeof WORKLOADS / sizeof *WORKLOADS };

const struct workload *workload_at(unsigned index)
{
	return index < WORKLOAD_COUNT ? &WORKLOADS[index] : NULL;
}

const struct workload *workload_find(const char *name)
{
	for (unsigned i = 0; i < WORKLOAD_COUNT; i++)
		if (!strcasecmp(WORKLOADS[i].name, name))
			return &WORKLOADS[i];
	return NULL;
}

/* The rows of the table: requests in flight per client, keys per request. */
static const struct {
	uint32_t outstanding, batch;
} STEPS[] = {{1, 1}, {16, 1}, {64, 1}, {256, 1}, {16, 32}, {64, 32}};
static const char *const MEASURED[] = {"A", "C"};

struct suite {
	const struct suite_options *options;
	struct contexts *contexts;
	struct phase_result *result;
	struct echo_result *echo;
	json_t *rows;
};

static int load(struct suite *suite, struct rpc_error *error_out)
{
	struct phase_options phase = suite->options->phase;
	struct chooser unused = {.key_count = phase.key_count};
	phase.client_count = 1;
	phase.in_flight = 16;
	phase.batch = 32;
	int error = phase_run(PHASE_PREPARE, &phase, &unused, suite->contexts, suite->result, error_out);
	if (error == 0)
		error = phase_run(PHASE_LOAD, &phase, &unused, suite->contexts, suite->result, error_out);
	if (error < 0)
		return error;
	if (suite->options->json)
		json_array_append_new(suite->rows, report_phase_json("load", &phase, suite->result));
	else
		printf("loaded %" PRIu64 " keys of %" PRIu32 " bytes at %.0f/s (batch 32)\n\n", phase.key_count,
		       phase.value_size, report_rate(suite->result->operations, suite->result->seconds));
	return 0;
}

static void report_row(struct suite *suite, const char *name, const struct phase_options *phase, double ceiling)
{
	const struct phase_result *result = suite->result;
	double rate = report_rate(result->operations, result->seconds);
	if (suite->options->json) {
		json_t *row = report_phase_json(name, phase, result);
		json_object_set_new(row, "echo_keys_per_second", json_real(ceiling));
		json_object_set_new(row, "share_of_echo", json_real(ceiling > 0 ? rate / ceiling : 0));
		json_array_append_new(suite->rows, row);
		return;
	}
	/* one line per row: the slower of the two kinds of request */
	const struct histogram *worst = &result->latency[PHASE_READ];
	for (unsigned i = 1; i < PHASE_STEPS; i++)
		if (histogram_quantile(&result->latency[i], 0.99) > histogram_quantile(worst, 0.99))
			worst = &result->latency[i];
	uint64_t failed = result->in_doubt + result->refused + result->failed + result->absent + result->corrupt;
	printf("%-9s %11" PRIu32 " %6" PRIu32 " %12.0f %12.0f %7.1f %%   %8.3f %8.3f %8" PRIu64 "\n", name,
	       phase->in_flight, phase->batch, rate, ceiling, ceiling > 0 ? 100 * rate / ceiling : 0,
	       (double)histogram_quantile(worst, 0.5) / 1000, (double)histogram_quantile(worst, 0.99) / 1000, failed);
	fflush(stdout);
}

static int measure(struct suite *suite, const struct workload *workload, struct phase_options *phase, double ceiling,
		   struct rpc_error *error_out)
{
	struct chooser chooser;
	chooser_init(&chooser,
		     suite->options->distribution_given ? suite->options->distribution : workload->distribution,
		     phase->key_count);
	memcpy(phase->percent, workload->percent, sizeof phase->percent);
	int error = phase_run(PHASE_RUN, phase, &chooser, suite->contexts, suite->result, error_out);
	if (error == 0)
		report_row(suite, workload->name, phase, ceiling);
	return error;
}

static int run_step(struct suite *suite, uint32_t outstanding, uint32_t batch, struct rpc_error *error_out)
{
	struct phase_options phase = suite->options->phase;
	phase.in_flight = outstanding * phase.client_count;
	phase.batch = batch;
	struct echo_options echo = {
		.message_size = phase.value_size * batch,
		.client_count = phase.client_count,
		.in_flight = phase.in_flight,
		.duration_ms = phase.duration_ms,
	};
	int error = echo_run(&echo, suite->echo, error_out);
	if (error < 0)
		return error;
	double ceiling = report_rate(suite->echo->messages, suite->echo->seconds) * batch;
	if (suite->options->json)
		json_array_append_new(suite->rows, report_echo_json(&echo, suite->echo));
	for (unsigned i = 0; error == 0 && i < sizeof MEASURED / sizeof *MEASURED; i++)
		error = measure(suite, workload_find(MEASURED[i]), &phase, ceiling, error_out);
	return error;
}

static int run_steps(struct suite *suite, struct rpc_error *error_out)
{
	int error = load(suite, error_out);
	if (error == 0 && !suite->options->json)
		printf("%-9s %11s %6s %12s %12s %9s   %8s %8s %8s\n", "workload", "in flight", "batch", "keys/s",
		       "echo keys/s", "share", "p50 ms", "p99 ms", "failed");
	for (unsigned i = 0; error == 0 && i < sizeof STEPS / sizeof *STEPS; i++)
		error = run_step(suite, STEPS[i].outstanding, STEPS[i].batch, error_out);
	return error;
}

int suite_run(const struct suite_options *options, struct rpc_error *error_out)
{
	struct suite suite = {.options = options};
	suite.contexts = contexts_create(options->phase.key_count);
	suite.result = malloc(sizeof *suite.result);
	suite.echo = malloc(sizeof *suite.echo);
	suite.rows = json_array();
	if (suite.result == NULL || suite.echo == NULL || suite.rows == NULL)
		abort();
	int error = run_steps(&suite, error_out);
	if (error == 0 && options->json)
		report_print(json_incref(suite.rows));
	json_decref(suite.rows);
	contexts_destroy(&suite.contexts);
	free(suite.result);
	free(suite.echo);
	return error;
}
