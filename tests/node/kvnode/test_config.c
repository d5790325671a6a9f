/* SPDX-License-Identifier: Apache-2.0 */
#include "node/kvnode/config.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/test_config.XXXXXX";

static int make_file(void **state)
{
	int file = mkstemp(path);

	(void)state;
	if (file < 0)
		return -1;
	return close(file);
}

static int remove_file(void **state)
{
	(void)state;
	return unlink(path);
}

static void write_file(const char *text)
{
	FILE *file = fopen(path, "w");

	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	assert_int_equal(fclose(file), 0);
}

#define REQUIRED "[node]\nname = n1\ndata-dir = /var/lib/kvring\n"

/* The file alone, without flags. */
static int load_file(const char *file, struct node_config *out, struct config_error *error_out)
{
	return config_read_again(3, (char *[]){"kvnode", "--config", (char *)file, NULL}, out, error_out);
}

static struct node_config load(const char *text)
{
	struct node_config config;
	struct config_error error = {""};

	write_file(text);
	if (load_file(path, &config, &error))
		fail_msg("%s", error.text);
	return config;
}

/* expected is what follows "config FILE" */
static void refuse(const char *text, const char *expected)
{
	struct node_config config;
	struct config_error error = {""};
	char prefix[100];

	write_file(text);
	assert_int_equal(load_file(path, &config, &error), -EINVAL);
	snprintf(prefix, sizeof prefix, "config %s", path);
	if (strncmp(error.text, prefix, strlen(prefix)) || strcmp(error.text + strlen(prefix), expected))
		fail_msg("said:     %s\n       expected: config FILE%s", error.text, expected);
	assert_null(strchr(error.text, '\n'));
}

/* ---- what is understood ---------------------------------------------------------------------------------------- */

static void test_file_defaults(void **state)
{
	struct node_config config = load(REQUIRED);

	(void)state;
	assert_string_equal(config.name, "n1");
	assert_string_equal(config.data_dir, "/var/lib/kvring");
	assert_string_equal(config.dc, "dc1");
	assert_string_equal(config.rack, "");
	assert_int_equal(config.weight, 100);
	assert_string_equal(config.listen, "127.0.0.1:7000");
	assert_string_equal(config.listen_peer, "127.0.0.1:7001");
	assert_string_equal(config.listen_bus, "127.0.0.1:7002");
	assert_string_equal(config.advertise, "127.0.0.1");
	assert_string_equal(config.client_address, "127.0.0.1:7000");
	assert_string_equal(config.peer_address, "127.0.0.1:7001");
	assert_string_equal(config.bus_address, "127.0.0.1:7002");
	assert_int_equal(config.seed_count, 0);
	assert_int_equal(config.coordinators, 0);
	assert_int_equal(config.shards, 0);
	assert_int_equal(config.jobs, 2);
	assert_int_equal(config.cache_mb, 256);
	assert_int_equal(config.memtable_mb, 64);
	assert_int_equal(config.request_mb, 0);
	assert_int_equal(config.transfer_rate_mb, 32);
	assert_int_equal(config.autoscale, 0); /* off */
	assert_int_equal(config.autoscale_high, 70);
	assert_int_equal(config.autoscale_low, 30);
	assert_int_equal(config.autoscale_disk_gb, 0);
	assert_int_equal(config.autoscale_min, 1);
	assert_int_equal(config.autoscale_max, 16384);
	assert_int_equal(config.autoscale_hold_s, 300);
	assert_int_equal(config.autoscale_rest_s, 1800);
	assert_int_equal(config.log_level, LOG_LEVEL_INFO);
	assert_int_equal(config.read_level, LEVEL_QUORUM);
	assert_int_equal(config.write_level, LEVEL_QUORUM);
}

static const char everything[] = "# kvring\n"
				 "[node]\n"
				 "name = db-1.example\n"
				 "data-dir = /srv/my data/#1\n"
				 "dc = berlin ; where it stands\n"
				 "rack = r7\n"
				 "weight = 250\n"
				 "\n"
				 "[network]\n"
				 "listen = 0.0.0.0:8000\n"
				 "listen-peer = [::]:9000\n"
				 "listen-bus = 10.1.2.3:9500\n"
				 "advertise = db-1.example.org\n"
				 "seed = 10.1.2.4:9000\n"
				 "seed = [fe80::1]:9000\n"
				 "seed = db-3.example.org:9000\n"
				 "[threads]\n"
				 "coordinators = 4\n"
				 "shards = 8\n"
				 "jobs = 3\n"
				 "[storage]\n"
				 "cache-mb = 4096\n"
				 "memtable-mb = 32\n"
				 "request-mb = 512\n"
				 "transfer-rate-mb = 7\n"
				 "[autoscale]\n"
				 "autoscale = apply\n"
				 "autoscale-high = 80\n"
				 "autoscale-low = 20\n"
				 "autoscale-disk-gb = 500\n"
				 "autoscale-min = 5\n"
				 "autoscale-max = 9\n"
				 "autoscale-hold-s = 60\n"
				 "autoscale-rest-s = 600\n"
				 "[log]\n"
				 "log-level = debug\n";

static void test_file_says_everything(void **state)
{
	struct node_config config = load(everything);

	(void)state;
	assert_string_equal(config.name, "db-1.example");
	assert_string_equal(config.data_dir, "/srv/my data/#1");
	assert_string_equal(config.dc, "berlin");
	assert_string_equal(config.rack, "r7");
	assert_int_equal(config.weight, 250);
	assert_string_equal(config.listen, "0.0.0.0:8000");
	assert_string_equal(config.listen_peer, "[::]:9000");
	assert_string_equal(config.listen_bus, "10.1.2.3:9500");
	assert_string_equal(config.client_address, "db-1.example.org:8000");
	assert_string_equal(config.peer_address, "db-1.example.org:9000");
	assert_string_equal(config.bus_address, "db-1.example.org:9500");
	assert_int_equal(config.seed_count, 3);
	assert_string_equal(config.seeds[0], "10.1.2.4:9000");
	assert_string_equal(config.seeds[1], "[fe80::1]:9000");
	assert_string_equal(config.seeds[2], "db-3.example.org:9000");
	assert_int_equal(config.coordinators, 4);
	assert_int_equal(config.shards, 8);
	assert_int_equal(config.jobs, 3);
	assert_int_equal(config.cache_mb, 4096);
	assert_int_equal(config.memtable_mb, 32);
	assert_int_equal(config.request_mb, 512);
	assert_int_equal(config.transfer_rate_mb, 7);
	assert_int_equal(config.autoscale, 2);
	assert_int_equal(config.autoscale_high, 80);
	assert_int_equal(config.autoscale_low, 20);
	assert_int_equal(config.autoscale_disk_gb, 500);
	assert_int_equal(config.autoscale_min, 5);
	assert_int_equal(config.autoscale_max, 9);
	assert_int_equal(config.autoscale_hold_s, 60);
	assert_int_equal(config.autoscale_rest_s, 600);
	assert_int_equal(config.log_level, LOG_LEVEL_DEBUG);
}

static void there_and_back(const char *text)
{
	struct node_config config = load(text), again;
	char *printed = NULL;
	size_t size = 0;
	FILE *file = open_memstream(&printed, &size);

	assert_non_null(file);
	config_print(&config, file);
	assert_int_equal(fclose(file), 0);
	again = load(printed);
	assert_memory_equal(&config, &again, sizeof config);
	free(printed);
}

/* C1 */
static void test_print_reads_back(void **state)
{
	char text[1000], directory[CONFIG_PATH_MAX];

	(void)state;
	there_and_back(REQUIRED);
	there_and_back(everything);
	there_and_back(REQUIRED "[requests]\nread-level = local-one\nwrite-level = each-quorum\n");
	there_and_back(REQUIRED "[storage]\ncache-mb = 1\n[log]\nlog-level=error\n[threads]\nshards=auto\n");
	there_and_back(REQUIRED "[autoscale]\nautoscale = propose\n");
	there_and_back(REQUIRED "rack =\n[network]\nadvertise =\nlisten-peer =\n");
	memset(directory, 'd', sizeof directory - 1); /* the longest path still fits a line */
	directory[sizeof directory - 1] = 0;
	snprintf(text, sizeof text, "[node]\nname=n1\ndata-dir=%s\n", directory);
	there_and_back(text);
}

/* ---- what is refused ------------------------------------------------------------------------------------------- */

static void test_unknown_words(void **state)
{
	(void)state;
	refuse("[node]\nname = n1\nwieght = 3\n", ":3: unknown key 'wieght' in [node]; did you mean 'weight'?");
	refuse("[node]\nlisten = a:1\n", ":2: key 'listen' belongs in [network], not in [node]");
	refuse("[node]\ncache_mb = 1\n", ":2: unknown key 'cache_mb' in [node]; did you mean 'cache-mb' in [storage]?");
	refuse("[log]\nlevel = info\n", ":2: unknown key 'level' in [log]; did you mean 'log-level'?");
	refuse("[node]\nfrobnicate = 3\n", ":2: unknown key 'frobnicate' in [node]; kvnode --help lists all");
	refuse("[node]\n\x1b[2J = 3\n", ":2: unknown key '?[2J' in [node]; kvnode --help lists all");
	refuse("[nodes]\nname = n1\n", ":2: unknown section [nodes]; did you mean [node]?");
	refuse("[cluster]\nname = n1\n", ":2: unknown section [cluster]; there are [node], [network], [threads], "
					 "[storage], [autoscale], [log] and [requests]");
	refuse("\nname = n1\n", ":2: key 'name' stands before any [section]; begin with [node]");
}

static void test_lines_without_form(void **state)
{
	char text[400] = "[node]\nname = ";

	(void)state;
	refuse("[node]\n# fine\nwhat is this\nname = n1\n", ":3: expected [section] or key = value");
	refuse("[node\nname = n1\n", ":1: expected [section] or key = value");
	/* the first of two complaints */
	refuse("[node]\nweight = 0\nwhat is this\n", ":2: weight = 0 in [node]: must be a number from 1 to 10000");
	memset(text + strlen(text), 'x', 300);
	refuse(text, ":2: the line is longer than 197 bytes");
}

static void test_doubled_key(void **state)
{
	(void)state;
	refuse(REQUIRED "dc = a\n[log]\n[node]\ndc = a\n",
	       ":7: key 'dc' in [node] is given twice; the first time in line 4");
}

static void test_wrong_values(void **state)
{
	static const char *const modes[] = {"on", "", "appl", "apply|", "off|propose", "|", "2"};

	(void)state;
	refuse("[node]\nname = a b\n", ":2: name = a b in [node]: may have letters, digits, '.', '_' and '-' only");
	refuse("[node]\nname =\n", ":2: name =  in [node]: is empty");
	refuse("[node]\nname = 1234567890123456789012345678901234567890123456789012345678901234\n",
	       ":2: name = 1234567890123456789012345678901234567890123456789012345678901234 in [node]: is longer than "
	       "63 bytes");
	refuse("[node]\ndata-dir = /a;b\n", ":2: data-dir = /a;b in [node]: may not have ';' or control characters");
	refuse("[node]\nweight = 10001\n", ":2: weight = 10001 in [node]: must be a number from 1 to 10000");
	refuse("[node]\nweight = -1\n", ":2: weight = -1 in [node]: must be a number from 1 to 10000");
	refuse("[node]\nweight = 10x\n", ":2: weight = 10x in [node]: must be a number from 1 to 10000");
	refuse("[node]\nweight = 4294967297\n", ":2: weight = 4294967297 in [node]: must be a number from 1 to 10000");
	refuse("[threads]\nshards = 0\n", ":2: shards = 0 in [threads]: must be auto or a number from 1 to 256");
	refuse("[storage]\ntransfer-rate-mb = 0\n",
	       ":2: transfer-rate-mb = 0 in [storage]: must be a number from 1 to 100000");
	refuse("[storage]\nrequest-mb = 64\n",
	       ":2: request-mb = 64 in [storage]: must be auto or a number from 128 to 1048576");
	refuse("[requests]\nwrite-level = most\n", ":2: write-level = most in [requests]: must be one, two, quorum, "
						   "all, local-one, local-quorum or each-quorum");
	for (size_t i = 0; i < sizeof modes / sizeof *modes; i++) {
		char text[100], expected[200];

		snprintf(text, sizeof text, "[autoscale]\nautoscale = %s\n", modes[i]);
		snprintf(expected, sizeof expected,
			 ":2: autoscale = %s in [autoscale]: must be one of off|propose|apply", modes[i]);
		refuse(text, expected);
	}
	refuse("[autoscale]\nautoscale-high = 101\n",
	       ":2: autoscale-high = 101 in [autoscale]: must be a number from 2 to 100");
	refuse("[autoscale]\nautoscale-hold-s = 0\n",
	       ":2: autoscale-hold-s = 0 in [autoscale]: must be a number from 10 to 86400");
	refuse("[log]\nlog-level = loud\n", ":2: log-level = loud in [log]: must be error, warn, info or debug");
}

static void refuse_address(const char *address)
{
	char text[200], expected[300];

	snprintf(text, sizeof text, "[network]\nseed = %s\n", address);
	snprintf(expected, sizeof expected,
		 ":2: seed = %s in [network]: must be HOST:PORT, for example 127.0.0.1:7000, db1.example.org:7000 or "
		 "[::1]:7000",
		 address);
	refuse(text, expected);
}

static void test_wrong_addresses(void **state)
{
	static const char *const addresses[] = {
		"",           "host",        ":7000",    "host:",     "host:0",     "host:65536", "host:x",  "ho st:1",
		"1.2.3:7000", "1.2.3.256:1", "::1:7000", "[::1:7000", "[::g]:7000", "[]:7000",    "host:+1", "a/b:1",
	};

	(void)state;
	for (size_t i = 0; i < sizeof addresses / sizeof addresses[0]; i++)
		refuse_address(addresses[i]);
	refuse("[network]\nadvertise = host:1\n",
	       ":2: advertise = host:1 in [network]: must be a host: a name, an IPv4 "
	       "address, or an IPv6 address in brackets, without a port");
}

static void test_too_many_seeds(void **state)
{
	char text[2000] = "[network]\n";

	(void)state;
	for (int i = 0; i <= CONFIG_SEEDS_MAX; i++)
		strcat(text, "seed = h:1\n");
	refuse(text, ":34: seed = h:1 in [network]: is one too many: 32 seeds are the limit");
}

static void test_what_is_missing_or_contradicts(void **state)
{
	(void)state;
	refuse("[node]\nname = n1\n", ": 'data-dir' is missing in [node]; add it, or give --data-dir DIR");
	refuse("", ": 'name' is missing in [node]; add it, or give --name NAME");
}

static void refuse_whole(const char *text, const char *expected)
{
	struct node_config config;
	struct config_error error = {""};

	write_file(text);
	assert_int_equal(load_file(path, &config, &error), -EINVAL);
	assert_string_equal(error.text, expected);
}

static void test_addresses_that_cannot_work(void **state)
{
	(void)state;
	refuse_whole(REQUIRED "[network]\nlisten = 0.0.0.0:7000\n",
		     "listen 0.0.0.0:7000 is every address of this machine, which others cannot dial: give --advertise "
		     "HOST");
	refuse_whole(REQUIRED "[network]\nadvertise = [::]\n", "advertise [::] is no address that others can dial");
	refuse_whole(REQUIRED "[network]\nlisten = h:65534\n",
		     "listen h:65534 leaves no port 2 above it for listen-bus; give --listen-bus or a lower port");
	refuse_whole(REQUIRED "[network]\nlisten = h:7000\nlisten-bus = h:7001\n",
		     "listen h:7000, listen-peer h:7001 and listen-bus h:7001 must differ");
}

static void test_marks_that_contradict(void **state)
{
	(void)state;
	refuse_whole(REQUIRED "[autoscale]\nautoscale-high = 30\n",
		     "autoscale-low 30 must be less than autoscale-high 30: lower the one or raise the other");
	refuse_whole(REQUIRED "[autoscale]\nautoscale-min = 6\nautoscale-max = 5\n",
		     "autoscale-min 6 is more than autoscale-max 5: lower the one or raise the other");
}

static void test_file_that_is_not_there(void **state)
{
	struct node_config config;
	struct config_error error;

	(void)state;
	assert_int_equal(load_file("/nowhere/kvnode.ini", &config, &error), -ENOENT);
	assert_string_equal(error.text, "config /nowhere/kvnode.ini: cannot read it: No such file or directory");
	assert_int_equal(load_file("/", &config, &error), -EINVAL);
	assert_non_null(strstr(error.text, "Is a directory"));
}

/* ---- arguments, in a process of their own: argp may end it ------------------------------------------------------- */

struct result {
	int code; /* 100: config_from_arguments said go on, and the configuration was printed */
	char out[16384], err[4096];
};

static void read_all(FILE *file, char *text, size_t size)
{
	rewind(file);
	text[fread(text, 1, size - 1, file)] = 0;
	fclose(file);
}

static void child(int argc, char **argv, FILE *out, FILE *err)
{
	struct node_config config;
	int code;

	if (dup2(fileno(out), STDOUT_FILENO) < 0 || dup2(fileno(err), STDERR_FILENO) < 0)
		_exit(99);
	code = config_from_arguments(argc, argv, &config);
	if (code == -1) {
		config_print(&config, stdout);
		code = 100;
	}
	fflush(stdout);
	_exit(code);
}

static struct result run(char *first, ...)
{
	char *argv[20] = {"kvnode"};
	int argc = 1, status;
	FILE *out = tmpfile(), *err = tmpfile();
	struct result result;
	va_list more;
	pid_t pid;

	va_start(more, first);
	for (char *argument = first; argument != NULL; argument = va_arg(more, char *))
		argv[argc++] = argument;
	va_end(more);
	assert_true(out && err);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		child(argc, argv, out, err);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	result.code = WEXITSTATUS(status);
	read_all(out, result.out, sizeof result.out);
	read_all(err, result.err, sizeof result.err);
	return result;
}

static void test_flags_alone(void **state)
{
	struct result result = run("--name", "n7", "--data-dir=/d", "--listen", "10.0.0.1:5000", "--seed", "a:1",
				   "--seed", "b:2", "--shards", "2", NULL);

	(void)state;
	assert_int_equal(result.code, 100);
	assert_string_equal(result.err, "");
	assert_non_null(strstr(result.out, "\nname = n7\n"));
	assert_non_null(strstr(result.out, "\nlisten-peer = 10.0.0.1:5001\n"));
	assert_non_null(strstr(result.out, "\nseed = a:1\nseed = b:2\n"));
	assert_non_null(strstr(result.out, "\nshards = 2\n"));
}

static void test_flags_go_before_file(void **state)
{
	struct result result;

	(void)state;
	write_file(everything);
	result = run("--weight", "9", "--config", path, "--seed", "x:1", "--name", "z", NULL);
	assert_int_equal(result.code, 100);
	assert_non_null(strstr(result.out, "\nname = z\n"));
	assert_non_null(strstr(result.out, "\nweight = 9\n"));
	assert_non_null(strstr(result.out, "\nrack = r7\n"));
	assert_non_null(strstr(result.out, "\nseed = x:1\n"));
	assert_null(strstr(result.out, "10.1.2.4")); /* seeds of the file are replaced, not added to */
}

static void test_flags_complete_file(void **state)
{
	struct result result;

	(void)state;
	write_file("[node]\nname = n1\n");
	result = run("--config", path, "--data-dir", "/d", NULL);
	assert_int_equal(result.code, 100);
}

static void fails(struct result result, const char *line)
{
	assert_int_equal(result.code, 2);
	assert_string_equal(result.out, "");
	assert_string_equal(result.err, line);
}

static void test_wrong_flags(void **state)
{
	char line[200];

	(void)state;
	fails(run("--weight", "0", NULL), "kvnode: --weight 0: must be a number from 1 to 10000\n");
	fails(run("--weight", "1", "--weight", "2", NULL), "kvnode: --weight is given twice\n");
	fails(run("--config", "a", "--config", "b", NULL), "kvnode: --config is given twice\n");
	fails(run("--name", "n1", NULL),
	      "kvnode: --data-dir DIR is missing (or 'data-dir' in [node] of a file given by --config)\n");
	fails(run("n1", NULL), "kvnode: 'n1' is no flag; kvnode takes flags only, see --help\n");
	fails(run("--config", "/nowhere", NULL),
	      "kvnode: config /nowhere: cannot read it: No such file or directory\n");
	write_file("[node]\nfoo = 1\n");
	snprintf(line, sizeof line, "kvnode: config %s:2: unknown key 'foo' in [node]; kvnode --help lists all\n",
		 path);
	fails(run("--config", path, NULL), line);
}

static void test_unknown_flag(void **state)
{
	struct result result = run("--frobnicate", NULL);

	(void)state;
	assert_int_equal(result.code, 2);
	assert_non_null(strstr(result.err, "--frobnicate"));
	assert_non_null(strstr(result.err, "--help"));
}

static void test_check_and_print(void **state)
{
	struct result result;

	(void)state;
	write_file(everything);
	result = run("--config", path, "--check-config", NULL);
	assert_int_equal(result.code, 0);
	assert_string_equal(result.out, "the configuration is right\n");
	fails(run("--check-config", "--weight", "x", NULL), "kvnode: --weight x: must be a number from 1 to 10000\n");
	result = run("--config", path, "--print-config", NULL);
	assert_int_equal(result.code, 0);
	there_and_back(result.out);
}

static void test_help_knows_every_key(void **state)
{
	struct result help = run("--help", NULL), version = run("--version", NULL);
	struct node_config config = load(everything);
	char *printed = NULL, *save;
	size_t size = 0;
	FILE *file = open_memstream(&printed, &size);

	(void)state;
	assert_int_equal(help.code, 0);
	assert_int_equal(version.code, 0);
	assert_memory_equal(version.out, "kvnode ", 7);
	config_print(&config, file);
	fclose(file);
	for (char *line = strtok_r(printed, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
		char flag[64];
		if (*line == '#')
			continue;
		if (*line == '[')
			snprintf(flag, sizeof flag, "%s", line);
		else
			snprintf(flag, sizeof flag, "--%.*s=", (int)strcspn(line, " "), line);
		if (strstr(help.out, flag) == NULL)
			fail_msg("--help does not say %s", flag);
	}
	free(printed);
	assert_non_null(strstr(help.out, "(default 127.0.0.1:7000)"));
	assert_non_null(strstr(help.out, "(required)"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_defaults),
		cmocka_unit_test(test_file_says_everything),
		cmocka_unit_test(test_print_reads_back),
		cmocka_unit_test(test_unknown_words),
		cmocka_unit_test(test_lines_without_form),
		cmocka_unit_test(test_doubled_key),
		cmocka_unit_test(test_wrong_values),
		cmocka_unit_test(test_wrong_addresses),
		cmocka_unit_test(test_too_many_seeds),
		cmocka_unit_test(test_what_is_missing_or_contradicts),
		cmocka_unit_test(test_addresses_that_cannot_work),
		cmocka_unit_test(test_marks_that_contradict),
		cmocka_unit_test(test_file_that_is_not_there),
		cmocka_unit_test(test_flags_alone),
		cmocka_unit_test(test_flags_go_before_file),
		cmocka_unit_test(test_flags_complete_file),
		cmocka_unit_test(test_wrong_flags),
		cmocka_unit_test(test_unknown_flag),
		cmocka_unit_test(test_check_and_print),
		cmocka_unit_test(test_help_knows_every_key),
	};

	return cmocka_run_group_tests(tests, make_file, remove_file);
}
