/* SPDX-License-Identifier: Apache-2.0 */
/* kvbench: how fast a kvring cluster is, beside how fast messages alone could be. */
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "tools/kvbench/payload.h"
#include "tools/kvbench/report.h"
#include "tools/kvbench/suite.h"
#include "tools/output/output.h"

enum {
	EXIT_DONE = 0,
	EXIT_WRONG_DATA = 1, /* a value that nobody wrote, or one that is missing */
	EXIT_USAGE = 2,
	EXIT_FAILED = 5, /* could not run: nodes not reached, keys not stored */
	EXIT_OUTPUT = 6, /* the result could not be written */
	OPTION_SECONDS = 1000,
	OPTION_SEED,
	OPTION_BATCH,
	OPTION_R,
	OPTION_W,
	OPTION_BUCKET,
	OPTION_TIMEOUT,
	OPTION_IN_FLIGHT,
	CLIENTS_MAX = 4096, /* as many connections as a node takes */
	OUTSTANDING_MAX = 65536,
	OUTSTANDING_DEFAULT = 64,
	IN_FLIGHT_MAX = 1024 * 1024,
};

struct arguments {
	const char *command;
	const struct workload *workload;
	struct phase_options phase;
	bool distribution_given, json;
	enum chooser_distribution distribution;
	uint32_t outstanding, in_flight; /* 0: not given */
};

const char *argp_program_version = "kvbench " KVRING_VERSION;

/* ---- arguments ------------------------------------------------------------------------------------------------ */

static uint64_t parse_number(struct argp_state *state, const char *name, const char *text, uint64_t min, uint64_t max)
{
	char *end;
	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	if (end == text || *end || *text == '-' || errno || number < min || number > max)
		argp_error(state, "%s is a number from %" PRIu64 " to %" PRIu64 ", not '%s'", name, min, max, text);
	return number;
}

static uint32_t parse_seconds(struct argp_state *state, const char *text)
{
	char *end;
	double seconds = strtod(text, &end);
	if (end == text || *end || !(seconds >= 0.01 && seconds <= 86400))
		argp_error(state, "--seconds is a number from 0.01 to 86400, not '%s'", text);
	return (uint32_t)(seconds * 1000);
}

static error_t parse_size(int key, char *arg, struct argp_state *state, struct phase_options *phase)
{
	switch (key) {
	case 'k':
		phase->key_count = parse_number(state, "--keys", arg, 1, PAYLOAD_KEYS_MAX);
		return 0;
	case 's':
		phase->value_size =
			(uint32_t)parse_number(state, "--value-size", arg, PAYLOAD_VALUE_MIN, 8 * 1024 * 1024);
		return 0;
	case 'c':
		phase->client_count = (uint32_t)parse_number(state, "--clients", arg, 1, CLIENTS_MAX);
		return 0;
	case OPTION_BATCH:
		phase->batch = (uint32_t)parse_number(state, "--batch", arg, 1, 4096);
		return 0;
	case OPTION_SECONDS:
		phase->duration_ms = parse_seconds(state, arg);
		return 0;
	case OPTION_TIMEOUT:
		phase->timeout_ms = (uint32_t)parse_number(state, "--timeout", arg, 1, 3600) * 1000;
		return 0;
	case OPTION_SEED:
		phase->seed = parse_number(state, "--seed", arg, 0, UINT64_MAX);
		return 0;
	case OPTION_R:
		phase->r = (uint32_t)parse_number(state, "--r", arg, 1, 8);
		return 0;
	case OPTION_W:
		phase->w = (uint32_t)parse_number(state, "--w", arg, 1, 8);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static error_t settle_in_flight(struct arguments *arguments, const struct argp_state *state)
{
	struct phase_options *phase = &arguments->phase;
	if (arguments->in_flight && arguments->outstanding)
		argp_error(state, "give --in-flight (of all clients together) or --outstanding (of each), not both");
	if (arguments->in_flight && arguments->in_flight < phase->client_count)
		argp_error(state, "--in-flight %" PRIu32 " leaves some of the %" PRIu32 " clients without a request",
			   arguments->in_flight, phase->client_count);
	uint32_t each = arguments->outstanding ? arguments->outstanding : OUTSTANDING_DEFAULT;
	if (!arguments->in_flight && (uint64_t)each * phase->client_count > IN_FLIGHT_MAX)
		argp_error(state,
			   "%" PRIu32 " clients x %" PRIu32 " are more than the %d requests in flight there can be",
			   phase->client_count, each, IN_FLIGHT_MAX);
	phase->in_flight = arguments->in_flight ? arguments->in_flight : each * phase->client_count;
	return 0;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct arguments *arguments = state->input;
	switch (key) {
	case 'e':
		arguments->phase.endpoints = arg;
		return 0;
	case 'o':
		if (strcmp(arg, "text") && strcmp(arg, "json"))
			argp_error(state, "-o is text or json, not '%s'", arg);
		arguments->json = !strcmp(arg, "json");
		return 0;
	case 'w':
		arguments->workload = workload_find(arg);
		if (arguments->workload == NULL)
			argp_error(state, "there is no workload '%s'; --help lists them", arg);
		return 0;
	case 'd':
		arguments->distribution_given = true;
		if (!chooser_parse(arg, &arguments->distribution))
			argp_error(state, "--distribution is uniform, zipfian or latest, not '%s'", arg);
		return 0;
	case OPTION_BUCKET:
		arguments->phase.bucket = arg;
		return 0;
	case 'n':
		arguments->outstanding = (uint32_t)parse_number(state, "--outstanding", arg, 1, OUTSTANDING_MAX);
		return 0;
	case OPTION_IN_FLIGHT:
		arguments->in_flight = (uint32_t)parse_number(state, "--in-flight", arg, 1, IN_FLIGHT_MAX);
		return 0;
	case ARGP_KEY_END:
		return settle_in_flight(arguments, state);
	case ARGP_KEY_ARG:
		if (state->arg_num)
			argp_error(state, "one argument too many: '%s'", arg);
		arguments->command = arg;
		return 0;
	case ARGP_KEY_NO_ARGS:
		argp_error(state, "load, run, echo or suite?");
		return 0;
	default:
		return parse_size(key, arg, state, &arguments->phase);
	}
}

static const struct argp_option options[] = {
	{"endpoints", 'e', "HOST:PORT[,...]", 0, "Nodes; requests take turns among them (default: $KVRING_ENDPOINTS)",
	 0},
	{"output", 'o', "text|json", 0, "Form of the result (default: text)", 0},
	{"workload", 'w', "A|B|C|F|U", 0, "Mix of operations of `run` (default: A)", 1},
	{"distribution", 'd', "NAME", 0, "uniform, zipfian (0.99, scrambled) or latest (default: the workload's)", 1},
	{"keys", 'k', "COUNT", 0, "(default: 100000)", 1},
	{"value-size", 's', "BYTES", 0, "(default: 128)", 1},
	{"clients", 'c', "COUNT", 0, "Clients, each with a connection to each node (default: 1)", 1},
	{"in-flight", OPTION_IN_FLIGHT, "COUNT", 0, "Requests in flight, of all clients together", 1},
	{"outstanding", 'n', "COUNT", 0,
	 "Requests in flight of each client, however many nodes there are: clients x this in all (default: 64)", 1},
	{"batch", OPTION_BATCH, "COUNT", 0, "Keys per request; above 1: BatchPut and BatchGet (default: 1)", 1},
	{"seconds", OPTION_SECONDS, "COUNT", 0, "How long to measure (default: 10)", 1},
	{"timeout", OPTION_TIMEOUT, "SECONDS", 0, "For one request (default: 5)", 1},
	{"r", OPTION_R, "COUNT", 0, "Replicas that must answer a read (default: the cluster's)", 1},
	{"w", OPTION_W, "COUNT", 0, "Replicas that must have a write on stable storage (default: the cluster's)", 1},
	{"bucket", OPTION_BUCKET, "NAME", 0, "(default: kvbench)", 1},
	{"seed", OPTION_SEED, "NUMBER", 0, "Of keys and values (default: 1)", 1},
	{0},
};

static const char DOC[] =
	"Measures a kvring cluster with the YCSB core workloads."
	"\vCommands:\n"
	"  load   store every key once\n"
	"  run    the workload, for --seconds, on keys that `load` stored\n"
	"  echo   raw NNG request/reply between two processes: the ceiling of one message per request\n"
	"  suite  load, then echo, A and C with 1, 16, 64 and 256 in flight per client, and with batches of 32; shares "
	"of the "
	"echo\n"
	"\nWorkloads:\n"
	"  A  half reads, half updates           B  95 % reads, 5 % updates\n"
	"  C  reads only                         F  half reads, half read-modify-writes\n"
	"  U  updates only (not of YCSB; uniform)\n"
	"\nAn update carries the context that was last seen of its key, as an application's would, and replaces what "
	"it saw. Updates of one "
	"key wait for each other: while one is under way another key is drawn, evenly. `siblings` counts reads that "
	"returned several "
	"values all the same, as after a write in doubt. Every value read is checked. Latencies are per request, in "
	"milliseconds.\n"
	"\nExit status: 0 done, 1 wrong or missing data was read, 2 usage, 5 could not run, 6 the result could not be "
	"written.\n"
	"\nExamples:\n"
	"  kvbench load -e 127.0.0.1:7000 --keys 1000000\n"
	"  kvbench run -e 127.0.0.1:7000 --keys 1000000 -w B --in-flight 128 --seconds 30\n"
	"  kvbench echo --in-flight 64\n"
	"  kvbench suite -e 127.0.0.1:7000,127.0.0.1:7010,127.0.0.1:7020 -o json";

static const struct argp argp = {.options = options, .parser = parse, .args_doc = "load|run|echo|suite", .doc = DOC};

/* ---- commands ------------------------------------------------------------------------------------------------- */

static int fail(int status, const char *text)
{
	fflush(stdout);
	fprintf(stderr, "kvbench: %s\n", text);
	return status;
}

/* Endpoints that are none are wrong usage. */
static int fail_run(int error, const struct rpc_error *why)
{
	return fail(error == -EINVAL ? EXIT_USAGE : EXIT_FAILED, why->text);
}

static void report(const struct arguments *arguments, const char *title, const struct phase_result *result)
{
	if (arguments->json)
		report_print(report_phase_json(title, &arguments->phase, result));
	else
		report_phase_text(title, &arguments->phase, result);
}

/* What is there already is read first, so that a load replaces it. */
static int prepare(const struct arguments *arguments, struct contexts *contexts, struct phase_result *result,
		   struct rpc_error *error)
{
	struct phase_options phase = arguments->phase;
	struct chooser unused = {.key_count = phase.key_count};
	phase.client_count = 1;
	phase.in_flight = 16;
	phase.batch = 32;
	return phase_run(PHASE_PREPARE, &phase, &unused, contexts, result, error);
}

static int run_load(const struct arguments *arguments, struct contexts *contexts, struct phase_result *result)
{
	struct rpc_error error;
	struct chooser unused = {.key_count = arguments->phase.key_count};
	int failed = prepare(arguments, contexts, result, &error);
	if (failed == 0)
		failed = phase_run(PHASE_LOAD, &arguments->phase, &unused, contexts, result, &error);
	if (failed < 0)
		return fail_run(failed, &error);
	report(arguments, "load", result);
	return EXIT_DONE;
}

static int run_workload(struct arguments *arguments, struct contexts *contexts, struct phase_result *result)
{
	struct rpc_error error;
	struct chooser chooser;
	char title[32];
	int failed = prepare(arguments, contexts, result, &error);
	if (failed < 0)
		return fail_run(failed, &error);
	if (result->absent) {
		char text[128];
		snprintf(text, sizeof text,
			 "%" PRIu64 " of %" PRIu64
			 " keys are not there: `kvbench load` with the same --keys and --bucket stores them",
			 (uint64_t)result->absent, arguments->phase.key_count);
		return fail(EXIT_WRONG_DATA, text);
	}
	const struct workload *workload = arguments->workload;
	chooser_init(&chooser, arguments->distribution_given ? arguments->distribution : workload->distribution,
		     arguments->phase.key_count);
	memcpy(arguments->phase.percent, workload->percent, sizeof workload->percent);
	if (phase_run(PHASE_RUN, &arguments->phase, &chooser, contexts, result, &error) < 0)
		return fail(EXIT_FAILED, error.text);
	snprintf(title, sizeof title, "%s, %s", workload->name, chooser_name(chooser.distribution));
	report(arguments, title, result);
	if (result->corrupt || result->absent)
		return fail(EXIT_WRONG_DATA, "wrong or missing data was read");
	return EXIT_DONE;
}

static int run_echo(const struct arguments *arguments)
{
	struct echo_options echo = {
		.message_size = arguments->phase.value_size * arguments->phase.batch,
		.client_count = arguments->phase.client_count,
		.in_flight = arguments->phase.in_flight,
		.duration_ms = arguments->phase.duration_ms,
	};
	struct rpc_error error;
	static struct echo_result result;
	if (echo_run(&echo, &result, &error) < 0)
		return fail(EXIT_FAILED, error.text);
	if (arguments->json)
		report_print(report_echo_json(&echo, &result));
	else
		report_echo_text(&echo, &result);
	return EXIT_DONE;
}

static int run_suite(const struct arguments *arguments)
{
	struct suite_options suite = {
		.phase = arguments->phase,
		.distribution_given = arguments->distribution_given,
		.distribution = arguments->distribution,
		.json = arguments->json,
	};
	struct rpc_error error;
	int failed = suite_run(&suite, &error);
	return failed < 0 ? fail_run(failed, &error) : EXIT_DONE;
}

static int run_command(struct arguments *arguments)
{
	if (!strcmp(arguments->command, "echo"))
		return run_echo(arguments);
	if (arguments->phase.endpoints == NULL || !*arguments->phase.endpoints)
		return fail(EXIT_USAGE, "no node to ask: give -e HOST:PORT,HOST:PORT, or set KVRING_ENDPOINTS");
	if (!strcmp(arguments->command, "suite"))
		return run_suite(arguments);
	bool load = !strcmp(arguments->command, "load");
	if (!load && strcmp(arguments->command, "run"))
		return fail(EXIT_USAGE, "the command is load, run, echo or suite; `kvbench --help` explains them");
	struct contexts *contexts = contexts_create(arguments->phase.key_count);
	static struct phase_result result;
	int status = load ? run_load(arguments, contexts, &result) : run_workload(arguments, contexts, &result);
	contexts_destroy(&contexts);
	return status;
}

/* A connection is a file: the default limit of 1,024 ends at some hundred clients. */
static void raise_file_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		(void)setrlimit(RLIMIT_NOFILE, &limit); /* opening says what is missing */
	}
}

int main(int argc, char **argv)
{
	if (argc == 2 && !strcmp(argv[1], "echo-server")) /* the other half of `kvbench echo` */
		return echo_serve();
	struct arguments arguments = {
		.workload = workload_at(0),
		.phase =
			{
				.endpoints = getenv("KVRING_ENDPOINTS"),
				.bucket = "kvbench",
				.key_count = 100000,
				.value_size = 128,
				.client_count = 1,
				.batch = 1,
				.duration_ms = 10000,
				.timeout_ms = 5000,
				.seed = 1,
			},
	};
	output_open();
	argp_err_exit_status = EXIT_USAGE;
	raise_file_limit();
	argp_parse(&argp, argc, argv, 0, NULL, &arguments);
	if ((uint64_t)arguments.phase.batch * (arguments.phase.value_size + 256) > 16 * 1024 * 1024)
		return fail(EXIT_USAGE, "--batch times --value-size is more than the 16 MiB a request may have");
	int status = run_command(&arguments);
	return output_close("kvbench") || status != EXIT_DONE ? status : EXIT_OUTPUT;
}
