/* SPDX-License-Identifier: Apache-2.0 */
/* kvnode: one node of a cluster.
 *
 * Exit codes: 0 stopped by a signal after flushing; 1 could not start, could not close cleanly, or could not write what
 * --print-config and --check-config say; 2 wrong configuration. node/README.md says what each signal does. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif
#include "node/kvnode/config.h"
#include "node/observe/log.h"
#include "node/driver/runtime.h"

#define REQUEST_MB_MIN UINT64_C(128) /* one request of the largest size, with all its copies */

enum { FILES_MIN = 256 }; /* 128 connections of clients, 32 of peers, the rest for links, tables and logs */

static uint64_t random_u64(void)
{
	uint64_t value;
	/* Fails only before the kernel's generator is ready, and then it blocks instead. */
	while (getrandom(&value, sizeof value, 0) != sizeof value)
		;
	return value;
}

/* What is not configured is one per two cores: coordinators and replicas are busy at the same time, and more threads
 * than cores only take turns (measured on two cores: 1 + 1 made a fifth more puts per second than 2 + 2). */
static uint32_t threads_or(uint32_t configured)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	return configured ? configured : cores > 1 ? (uint32_t)cores / 2 : 1;
}

/* What is not configured is an eighth of the machine's memory for clients and as much for peers: a quarter together. */
static uint64_t request_bytes(uint32_t configured_mb)
{
	uint64_t machine = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t least = REQUEST_MB_MIN << 20;
	if (configured_mb != 0)
		return (uint64_t)configured_mb << 20;
	return machine / 8 > least ? machine / 8 : least;
}

static uint64_t unix_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void describe_self(const struct node_config *config, struct gossip_row *self)
{
	memset(self, 0, sizeof *self);
	snprintf(self->name, sizeof self->name, "%s", config->name);
	snprintf(self->client_address, sizeof self->client_address, "%s", config->client_address);
	snprintf(self->peer_address, sizeof self->peer_address, "%s", config->peer_address);
	snprintf(self->bus_address, sizeof self->bus_address, "%s", config->bus_address);
	snprintf(self->datacenter, sizeof self->datacenter, "%s", config->dc);
	snprintf(self->rack, sizeof self->rack, "%s", config->rack);
	snprintf(self->version, sizeof self->version, "%s", KVRING_VERSION);
	self->weight = config->weight;
	self->started_ms = unix_ms();
}

/* A connection is a file, and so is a table: the default of 1,024 is soon used up. Raises the limit as far as the system lets it and
 * returns it. */
static uint64_t raise_file_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return FILES_MIN;
	struct rlimit raised = {limit.rlim_max, limit.rlim_max};
	if (limit.rlim_cur < limit.rlim_max && setrlimit(RLIMIT_NOFILE, &raised) < 0)
		log_warn("start: cannot raise the limit of open files: %s", strerror(errno));
	else
		limit = raised;
	return limit.rlim_cur;
}

/* Clients get half of the files at most and peers an eighth, so that neither takes what the engine needs. */
static uint32_t connections_for(uint64_t files)
{
	return files < RPC_CONNECTIONS_MAX ? (uint32_t)files : RPC_CONNECTIONS_MAX;
}

static struct autoscale_settings autoscale_of(const struct node_config *config)
{
	return (struct autoscale_settings){
		.mode = (enum autoscale_mode)config->autoscale,
		.high_percent = config->autoscale_high,
		.low_percent = config->autoscale_low,
		.disk_bytes = (uint64_t)config->autoscale_disk_gb << 30,
		.active_min = config->autoscale_min,
		.active_max = config->autoscale_max,
		.hold_us = config->autoscale_hold_s * UINT64_C(1000000),
		.rest_us = config->autoscale_rest_s * UINT64_C(1000000),
	};
}

static int start(const struct node_config *config, uint64_t files, struct runtime **out)
{
	const char *seeds[CONFIG_SEEDS_MAX];
	struct runtime_options options = {
		.node =
			{
				.directory = config->data_dir,
				.seeds = seeds,
				.seed_count = config->seed_count,
				.coordinator_count = threads_or(config->coordinators),
				.shard_count = config->shards,
				.new_shard_count = threads_or(0),
				.seed = random_u64(),
				.new_node_id = random_u64() | 1,
				.cache_bytes = (size_t)config->cache_mb << 20,
				.memtable_bytes = (size_t)config->memtable_mb << 20,
				.retry_window_ms = (uint64_t)config->retry_window_s * 1000,
				.transfer_bytes_per_s = (uint64_t)config->transfer_rate_mb << 20,
				.read_level = config->read_level,
				.write_level = config->write_level,
				.autoscale = autoscale_of(config),
				.accept_restored = config->accept_restored,
			},
		.client_listen = config->listen,
		.peer_listen = config->listen_peer,
		.bus_listen = config->listen_bus,
		.job_threads = threads_or(config->jobs),
		.request_bytes = request_bytes(config->request_mb),
		.client_connections_max = connections_for(files / 2),
		.peer_connections_max = connections_for(files / 8),
		.client_idle_ms = config->idle_s * 1000,
	};
	for (uint32_t i = 0; i < config->seed_count; i++)
		seeds[i] = config->seeds[i];
	describe_self(config, &options.node.self);
	struct rpc_error why;
	int error = runtime_open(&options, out, &why);
	if (error < 0)
		log_error("start: %s", why.text[0] ? why.text : strerror(-error));
	return error;
}

/* A descriptor from 0 to 2 that was closed at the start would be the next file's: log lines would be written into the
 * engine's files. A closed stdout stays one to which nothing can be written: --print-config must not look done. */
static void open_standard_files(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF) /* open takes the lowest: fd */
			(void)!open("/dev/null", fd == STDOUT_FILENO ? O_RDONLY : O_RDWR);
}

/* runtime_run takes its signals; NNG's threads inherit the mask. What else could end the process without flushing means
 * nothing to a node. Past a limit of file sizes (SIGXFSZ) writes fail, which the engine tells. */
static void arrange_signals(void)
{
	static const int meaningless[] = {SIGPIPE, SIGUSR1, SIGUSR2, SIGALRM,  SIGVTALRM,
					  SIGPROF, SIGIO,   SIGXFSZ, SIGSTKFLT};
	sigset_t signals;
	runtime_signals(&signals);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	for (size_t i = 0; i < sizeof meaningless / sizeof *meaningless; i++)
		signal(meaningless[i], SIG_IGN);
	for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
		if (!sigismember(&signals, number))
			signal(number, SIG_IGN);
}

/* SIGHUP: the log level is taken from the configuration as it is now; everything else stays as it was at the start. */
static void reload(int argc, char **argv)
{
	static struct node_config fresh;
	struct config_error why;
	if (config_read_again(argc, argv, &fresh, &why) < 0) {
		log_error("config: not reloaded, the node goes on as before: %s", why.text);
		return;
	}
	log_set_level(fresh.log_level);
	log_info("config: reloaded log-level=%s; a restart takes over everything else",
		 log_level_name(fresh.log_level));
}

static int run(struct runtime *runtime, int argc, char **argv)
{
	int signal_number;
	while ((signal_number = runtime_run(runtime)) == SIGHUP)
		reload(argc, argv);
	return signal_number;
}

int main(int argc, char **argv)
{
	static struct node_config config;
	open_standard_files();
	int exit_code = config_from_arguments(argc, argv, &config);
	if (exit_code >= 0)
		return exit_code;
	arrange_signals(); /* not before: a configuration from a pipe may never end */
	log_open(config.name, config.log_level);
	uint64_t files = raise_file_limit();
	if (files < FILES_MIN) {
		log_error(
			"start: this process may open %llu files, and a node needs %d: raise the limit (ulimit -n, or "
			"LimitNOFILE= of systemd)",
			(unsigned long long)files, FILES_MIN);
		_exit(EXIT_FAILURE);
	}
	struct runtime *runtime;
	if (start(&config, files, &runtime) < 0)
		_exit(EXIT_FAILURE);
	log_info("start: version=%s id=%016lx cluster=%016lx data_dir=%s clients=%s peers=%s bus=%s coordinators=%u "
		 "shards=%u",
		 KVRING_VERSION, runtime->hub.node->id, runtime->hub.self.cluster_id, config.data_dir, config.listen,
		 config.listen_peer, config.listen_bus, runtime->hub.node->coordinator_count,
		 runtime->hub.node->shard_count);
	int signal_number = run(runtime, argc, argv);
	log_info("stop: %s: finishing what is under way", strsignal(signal_number));
	int error = runtime_close(&runtime);
	if (error < 0)
		log_error("stop: %s", strerror(-error));
	else
		log_info("stop: flushed and synced");
#ifdef __SANITIZE_ADDRESS__
	__lsan_do_leak_check(); /* _exit does not call it */
#endif
	/* NNG 1.5.2 may crash in its own exit handlers; everything of ours is closed. */
	_exit(error < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
