/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvbench/report.h"

#include <inttypes.h>
#include <stdio.h>

static const char *const STEP_NAMES[PHASE_STEPS] = {"read", "update", "read-modify-write"};

static const struct {
	const char *name;
	double share;
} QUANTILES[] = {{"p50", 0.5}, {"p95", 0.95}, {"p99", 0.99}, {"p99.9", 0.999}};
enum { QUANTILE_COUNT = sizeof QUANTILES / sizeof *QUANTILES };

double report_rate(uint64_t count, double seconds)
{
	return seconds > 0 ? (double)count / seconds : 0;
}

void report_print(json_t *document)
{
	json_dumpf(document, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER | JSON_REAL_PRECISION(6));
	putchar('\n');
	json_decref(document);
}

static json_t *latency_json(const struct histogram *histogram)
{
	json_t *object = json_object();
	json_object_set_new(object, "requests", json_integer((json_int_t)histogram_count(histogram)));
	json_object_set_new(object, "mean_us", json_real(histogram_mean(histogram)));
	for (unsigned i = 0; i < QUANTILE_COUNT; i++) {
		char name[16];
		snprintf(name, sizeof name, "%s_us", QUANTILES[i].name);
		json_object_set_new(object, name,
				    json_integer((json_int_t)histogram_quantile(histogram, QUANTILES[i].share)));
	}
	json_object_set_new(object, "max_us", json_integer((json_int_t)histogram_max(histogram)));
	return object;
}

static void print_latency(const char *name, const struct histogram *histogram)
{
	if (!histogram_count(histogram))
		return;
	printf("  %-18s %9" PRIu64 " requests   mean %.3f ms", name, histogram_count(histogram),
	       histogram_mean(histogram) / 1000);
	for (unsigned i = 0; i < QUANTILE_COUNT; i++)
		printf("  %s %.3f", QUANTILES[i].name,
		       (double)histogram_quantile(histogram, QUANTILES[i].share) / 1000);
	printf("  max %.3f\n", (double)histogram_max(histogram) / 1000);
}

/* First in every report: throughput and latency mean nothing without it. */
static void print_in_flight(uint32_t in_flight, uint32_t clients)
{
	printf("%" PRIu32 " in flight (%" PRIu32 " %s", in_flight, clients, clients == 1 ? "client" : "clients");
	if (in_flight % clients == 0)
		printf(" x %" PRIu32, in_flight / clients);
	putchar(')');
}

/* ---- phases --------------------------------------------------------------------------------------------------- */

static const struct {
	const char *name;
	size_t offset;
} COUNTERS[] = {
	{"in_doubt", offsetof(struct phase_result, in_doubt)},
	{"refused", offsetof(struct phase_result, refused)},
	{"failed", offsetof(struct phase_result, failed)},
	{"absent", offsetof(struct phase_result, absent)},
	{"corrupt", offsetof(struct phase_result, corrupt)},
	{"repeated", offsetof(struct phase_result, repeated)},
	{"siblings", offsetof(struct phase_result, siblings)},
	{"siblings_max", offsetof(struct phase_result, siblings_max)},
};
enum { COUNTER_COUNT = sizeof COUNTERS / sizeof *COUNTERS };

static uint64_t counter(const struct phase_result *result, unsigned index)
{
	return *(const _Atomic uint64_t *)((const char *)result + COUNTERS[index].offset);
}

void report_phase_text(const char *title, const struct phase_options *options, const struct phase_result *result)
{
	print_in_flight(options->in_flight, options->client_count);
	printf(", %" PRIu32 " per request: %s: %.0f operations/s (%" PRIu64 " in %.2f s)\n", options->batch, title,
	       report_rate(result->operations, result->seconds), result->operations, result->seconds);
	for (unsigned i = 0; i < PHASE_STEPS; i++)
		print_latency(STEP_NAMES[i], &result->latency[i]);
	const char *before = "  ";
	for (unsigned i = 0; i < COUNTER_COUNT; i++) {
		if (!counter(result, i))
			continue;
		printf("%s%s %" PRIu64, before, COUNTERS[i].name, counter(result, i));
		before = ", ";
	}
	if (*before == ',')
		putchar('\n');
	if (*result->first_error)
		printf("  first error: %s\n", result->first_error);
}

json_t *report_phase_json(const char *title, const struct phase_options *options, const struct phase_result *result)
{
	json_t *object = json_object(), *latency = json_object();
	json_object_set_new(object, "phase", json_string(title));
	json_object_set_new(object, "in_flight", json_integer(options->in_flight));
	json_object_set_new(object, "clients", json_integer(options->client_count));
	json_object_set_new(object, "batch", json_integer(options->batch));
	json_object_set_new(object, "value_size", json_integer(options->value_size));
	json_object_set_new(object, "keys", json_integer((json_int_t)options->key_count));
	json_object_set_new(object, "seconds", json_real(result->seconds));
	json_object_set_new(object, "operations", json_integer((json_int_t)result->operations));
	json_object_set_new(object, "requests", json_integer((json_int_t)result->requests));
	json_object_set_new(object, "operations_per_second",
			    json_real(report_rate(result->operations, result->seconds)));
	for (unsigned i = 0; i < COUNTER_COUNT; i++)
		json_object_set_new(object, COUNTERS[i].name, json_integer((json_int_t)counter(result, i)));
	for (unsigned i = 0; i < PHASE_STEPS; i++)
		if (histogram_count(&result->latency[i]))
			json_object_set_new(latency, STEP_NAMES[i], latency_json(&result->latency[i]));
	json_object_set_new(object, "latency", latency);
	if (*result->first_error)
		json_object_set_new(object, "first_error", json_string(result->first_error));
	return object;
}

/* ---- echo ----------------------------------------------------------------------------------------------------- */

void report_echo_text(const struct echo_options *options, const struct echo_result *result)
{
	print_in_flight(options->in_flight, options->client_count);
	printf(": echo: %.0f messages/s of %" PRIu32 " bytes\n", report_rate(result->messages, result->seconds),
	       options->message_size);
	print_latency("echo", &result->latency);
	if (result->failed)
		printf("  failed %" PRIu64 "\n", result->failed);
}

json_t *report_echo_json(const struct echo_options *options, const struct echo_result *result)
{
	return json_pack("{s:s, s:i, s:i, s:i, s:f, s:I, s:f, s:I, s:o}", "phase", "echo", "in_flight",
			 options->in_flight, "clients", options->client_count, "message_size", options->message_size,
			 "seconds", result->seconds, "messages", (json_int_t)result->messages, "messages_per_second",
			 report_rate(result->messages, result->seconds), "failed", (json_int_t)result->failed,
			 "latency", latency_json(&result->latency));
}
