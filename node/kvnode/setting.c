/* SPDX-License-Identifier: Apache-2.0 */
#include "node/kvnode/setting.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- the table ------------------------------------------------------------------------------------------------- */

#define AT(field) offsetof(struct node_config, field)

const struct setting settings[SETTING_COUNT] = {
	{"node", "name", SETTING_NAME, AT(name), NULL, 0, 0, "NAME", "name of this node, unique in the cluster"},
	{"node", "data-dir", SETTING_PATH, AT(data_dir), NULL, 0, 0, "DIR",
	 "directory of this node's data; made when it is not there"},
	{"node", "dc", SETTING_NAME, AT(dc), "dc1", 0, 0, "NAME", "datacenter"},
	{"node", "rack", SETTING_OPTIONAL_NAME, AT(rack), "", 0, 0, "NAME",
	 "rack; replicas go to distinct racks while there are enough"},
	{"node", "weight", SETTING_NUMBER, AT(weight), "100", 1, 10000, "N",
	 "share of the data, relative to other nodes"},

	{"network", "listen", SETTING_ADDRESS, AT(listen), "127.0.0.1:7000", 0, 0, "HOST:PORT",
	 "where clients connect"},
	{"network", "listen-peer", SETTING_ADDRESS, AT(listen_peer), "", 0, 0, "HOST:PORT",
	 "where other nodes connect; default: port of listen + 1"},
	{"network", "listen-bus", SETTING_ADDRESS, AT(listen_bus), "", 0, 0, "HOST:PORT",
	 "where other nodes gossip; default: port of listen + 2"},
	{"network", "advertise", SETTING_HOST, AT(advertise), "", 0, 0, "HOST",
	 "host by which others reach this node; default: that of listen"},
	{"network", "seed", SETTING_SEED, AT(seeds), "", 0, 0, "HOST:PORT",
	 "peer address of another node of the cluster; may be repeated"},
	{"network", "idle-s", SETTING_NUMBER, AT(idle_s), "300", 1, 86400, "SECONDS",
	 "a client's connection without a request for so long is closed"},

	{"threads", "coordinators", SETTING_AUTO, AT(coordinators), "auto", 1, 256, "N",
	 "threads for client operations; auto: one per two cores"},
	{"threads", "shards", SETTING_AUTO, AT(shards), "auto", 1, 256, "N",
	 "engine shards, a thread each, fixed with the data; auto: one per two cores"},
	{"threads", "jobs", SETTING_NUMBER, AT(jobs), "2", 1, 64, "N",
	 "background threads for deep compactions; two more are kept for flushes and new data"},

	{"storage", "cache-mb", SETTING_NUMBER, AT(cache_mb), "256", 1, 1048576, "MIB",
	 "block cache of all shards together, MiB"},
	{"storage", "memtable-mb", SETTING_NUMBER, AT(memtable_mb), "64", 1, 4096, "MIB",
	 "memory for new writes of each shard before a flush, MiB"},
	{"storage", "request-mb", SETTING_AUTO, AT(request_mb), "auto", 128, 1048576, "MIB",
	 "memory for requests in work, of clients and of nodes each, and half of it for values read, MiB; auto: an "
	 "eighth of the machine's"},
	{"storage", "retry-window-s", SETTING_NUMBER, AT(retry_window_s), "600", 10, 86400, "S",
	 "how long after its first attempt a write may be repeated, in seconds; clocks must agree within it; one value "
	 "for all nodes"},
	{"storage", "transfer-rate-mb", SETTING_NUMBER, AT(transfer_rate_mb), "32", 1, 100000, "MIB",
	 "how fast this node takes in what other nodes copy to it when the ring changes, MiB per second; less while "
	 "nodes "
	 "are busy"},

	{"autoscale", "autoscale", SETTING_CHOICE, AT(autoscale), "off", 0, 0, "off|propose|apply",
	 "whether members on standby come in and idle ones go on standby as load and disk ask for it: not at all, as "
	 "lines of the log alone, or by itself; give all nodes the same"},
	{"autoscale", "autoscale-high", SETTING_NUMBER, AT(autoscale_high), "70", 2, 100, "PERCENT",
	 "a member above it has too much: of the time of its busiest thread, and of autoscale-disk-gb"},
	{"autoscale", "autoscale-low", SETTING_NUMBER, AT(autoscale_low), "30", 1, 99, "PERCENT",
	 "a member goes when without it the others stay below this; less than autoscale-high"},
	{"autoscale", "autoscale-disk-gb", SETTING_NUMBER, AT(autoscale_disk_gb), "0", 0, 1000000, "GIB",
	 "data that a node of weight 100 has room for, others in proportion, GiB; 0: the disk is not watched"},
	{"autoscale", "autoscale-min", SETTING_NUMBER, AT(autoscale_min), "1", 1, 16384, "N",
	 "active members to keep in each datacenter; never fewer than its replicas"},
	{"autoscale", "autoscale-max", SETTING_NUMBER, AT(autoscale_max), "16384", 1, 16384, "N",
	 "active members in each datacenter up to which others come in"},
	{"autoscale", "autoscale-hold-s", SETTING_NUMBER, AT(autoscale_hold_s), "300", 10, 86400, "SECONDS",
	 "how long members have to be beyond a mark without a break"},
	{"autoscale", "autoscale-rest-s", SETTING_NUMBER, AT(autoscale_rest_s), "1800", 10, 864000, "SECONDS",
	 "how long nothing happens after a change of the ring"},

	{"log", "log-level", SETTING_LEVEL, AT(log_level), "info", 0, 0, "LEVEL", "error, warn, info or debug"},

	{"requests", "read-level", SETTING_REPLICAS, AT(read_level), "quorum", 0, 0, "LEVEL",
	 "replicas that answer a read which does not say: one, two, quorum, all, local-one, local-quorum or "
	 "each-quorum"},
	{"requests", "write-level", SETTING_REPLICAS, AT(write_level), "quorum", 0, 0, "LEVEL",
	 "replicas that acknowledge a write which does not say"},
};

static void *field(struct node_config *config, const struct setting *setting)
{
	return (char *)config + setting->offset;
}

/* ---- one value ------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static bool wrong(struct setting_reason *reason, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(reason->text, sizeof reason->text, format, arguments);
	va_end(arguments);
	return false;
}

static bool set_text(char *out, size_t limit, const char *text, struct setting_reason *reason)
{
	if (strlen(text) >= limit)
		return wrong(reason, "is longer than %zu bytes", limit - 1);
	memset(out, 0, limit); /* equal settings, equal bytes */
	strcpy(out, text);
	return true;
}

static bool set_name(char *out, const char *text, bool may_be_empty, struct setting_reason *reason)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

	if (!*text && !may_be_empty)
		return wrong(reason, "is empty");
	if (strspn(text, allowed) != strlen(text))
		return wrong(reason, "may have letters, digits, '.', '_' and '-' only");
	return set_text(out, CONFIG_NAME_MAX, text, reason);
}

/* A path that the file can say too: inih cuts blanks at the ends, and what follows " ;". */
static bool set_path(char *out, const char *text, struct setting_reason *reason)
{
	size_t size = strlen(text);

	if (size == 0)
		return wrong(reason, "is empty");
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f || text[i] == ';')
			return wrong(reason, "may not have ';' or control characters");
	if (text[0] == ' ' || text[size - 1] == ' ')
		return wrong(reason, "may not begin or end with a blank");
	return set_text(out, CONFIG_PATH_MAX, text, reason);
}

static bool parse_number(const char *text, uint32_t *out)
{
	size_t size = strlen(text);

	if (size == 0 || size > 9 || strspn(text, "0123456789") != size)
		return false;
	*out = (uint32_t)strtoul(text, NULL, 10);
	return true;
}

static bool set_number(uint32_t *out, const struct setting *setting, const char *text, struct setting_reason *reason)
{
	uint32_t number;
	bool automatic = setting->type == SETTING_AUTO;

	if (automatic && !strcmp(text, "auto")) {
		*out = 0;
		return true;
	}
	if (!parse_number(text, &number) || number < setting->least || number > setting->most)
		return wrong(reason, "must be %sa number from %" PRIu32 " to %" PRIu32, automatic ? "auto or " : "",
			     setting->least, setting->most);
	*out = number;
	return true;
}

/* A name, an IPv4 address, or an IPv6 address in brackets. */
static bool is_host(const char *text, size_t size)
{
	char host[CONFIG_ADDRESS_MAX];
	struct in6_addr ipv6;
	struct in_addr ipv4;

	if (size == 0 || size >= sizeof host)
		return false;
	memcpy(host, text, size);
	host[size] = 0;
	if (host[0] == '[' && host[size - 1] == ']') {
		host[size - 1] = 0;
		return inet_pton(AF_INET6, host + 1, &ipv6) == 1;
	}
	if (strspn(host, "0123456789.") == size) /* "10.0.0" is meant as an address, not as a name */
		return inet_pton(AF_INET, host, &ipv4) == 1;
	return strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == size;
}

static bool set_host(char *out, const char *text, struct setting_reason *reason)
{
	if (!is_host(text, strlen(text)))
		return wrong(reason,
			     "must be a host: a name, an IPv4 address, or an IPv6 address in brackets, without a port");
	return set_text(out, CONFIG_ADDRESS_MAX - 6, text, reason); /* a port must fit behind it */
}

/* 0 when there is none. */
uint32_t address_port(const char *address)
{
	const char *colon = strrchr(address, ':');
	uint32_t port;

	return colon != NULL && parse_number(colon + 1, &port) && port <= 65535 ? port : 0;
}

size_t address_host_size(const char *address)
{
	return (size_t)(strrchr(address, ':') - address);
}

static bool set_address(char *out, const char *text, struct setting_reason *reason)
{
	if (address_port(text) == 0 || !is_host(text, address_host_size(text)))
		return wrong(reason,
			     "must be HOST:PORT, for example 127.0.0.1:7000, db1.example.org:7000 or [::1]:7000");
	return set_text(out, CONFIG_ADDRESS_MAX, text, reason);
}

static bool add_seed(struct node_config *config, const char *text, struct setting_reason *reason)
{
	if (config->seed_count == CONFIG_SEEDS_MAX)
		return wrong(reason, "is one too many: %d seeds are the limit", CONFIG_SEEDS_MAX);
	if (!set_address(config->seeds[config->seed_count], text, reason))
		return false;
	config->seed_count++;
	return true;
}

/* The number of the word in "one|two|three", or -1. */
static int find_word(const char *words, const char *text, size_t size)
{
	int number = 0;

	for (; size > 0; words += strcspn(words, "|") + 1, number++) {
		if (strcspn(words, "|") == size && memcmp(words, text, size) == 0)
			return number;
		if (words[strcspn(words, "|")] == 0)
			break;
	}
	return -1;
}

static bool set_choice(uint32_t *out, const struct setting *setting, const char *text, struct setting_reason *reason)
{
	int number = find_word(setting->placeholder, text, strlen(text));

	if (number < 0)
		return wrong(reason, "must be one of %s", setting->placeholder);
	*out = (uint32_t)number;
	return true;
}

static void print_choice(const struct setting *setting, uint32_t number, FILE *file)
{
	const char *words = setting->placeholder;

	for (; number > 0; number--)
		words += strcspn(words, "|") + 1;
	fprintf(file, "%.*s", (int)strcspn(words, "|"), words);
}

static bool set_level(struct node_config *config, const char *text, struct setting_reason *reason)
{
	return log_level_parse(text, &config->log_level) || wrong(reason, "must be error, warn, info or debug");
}

static bool set_replicas(enum level *out, const char *text, struct setting_reason *reason)
{
	return level_parse(text, out) || wrong(reason, "must be one, two, quorum, all, local-one, local-quorum or "
						       "each-quorum");
}

bool setting_parse(struct node_config *config, const struct setting *setting, const char *text,
		   struct setting_reason *reason)
{
	switch (setting->type) {
	case SETTING_NAME:
		return set_name(field(config, setting), text, false, reason);
	case SETTING_OPTIONAL_NAME:
		return set_name(field(config, setting), text, true, reason);
	case SETTING_PATH:
		return set_path(field(config, setting), text, reason);
	case SETTING_ADDRESS:
		return set_address(field(config, setting), text, reason);
	case SETTING_HOST:
		return set_host(field(config, setting), text, reason);
	case SETTING_SEED:
		return add_seed(config, text, reason);
	case SETTING_NUMBER:
	case SETTING_AUTO:
		return set_number(field(config, setting), setting, text, reason);
	case SETTING_CHOICE:
		return set_choice(field(config, setting), setting, text, reason);
	case SETTING_LEVEL:
		return set_level(config, text, reason);
	case SETTING_REPLICAS:
		return set_replicas(field(config, setting), text, reason);
	}
	return wrong(reason, "has an unknown type"); /* not reached */
}

void setting_print(const struct node_config *config, const struct setting *setting, FILE *file)
{
	const void *at = (const char *)config + setting->offset;
	uint32_t number;

	if (setting->type == SETTING_NUMBER || setting->type == SETTING_AUTO) {
		memcpy(&number, at, sizeof number);
		if (number == 0 && setting->type == SETTING_AUTO)
			fprintf(file, "auto");
		else
			fprintf(file, "%" PRIu32, number);
	} else if (setting->type == SETTING_REPLICAS) {
		enum level level;

		memcpy(&level, at, sizeof level);
		fprintf(file, "%s", level_name(level));
	} else if (setting->type == SETTING_CHOICE) {
		memcpy(&number, at, sizeof number);
		print_choice(setting, number, file);
	} else if (setting->type == SETTING_LEVEL) {
		fprintf(file, "%s", log_level_name(config->log_level));
	} else {
		fprintf(file, "%s", (const char *)at);
	}
}

/* ---- what was meant -------------------------------------------------------------------------------------------- */

enum { WORD_MAX = 24 };

/* Levenshtein's distance; a large number for long words. */
static uint32_t edit_distance(const char *a, const char *b)
{
	uint32_t row[WORD_MAX + 1];
	size_t a_size = strlen(a), b_size = strlen(b);

	if (a_size > WORD_MAX || b_size > WORD_MAX)
		return UINT32_MAX;
	for (uint32_t j = 0; j <= b_size; j++)
		row[j] = j;
	for (uint32_t i = 1; i <= a_size; i++) {
		uint32_t diagonal = row[0];

		row[0] = i;
		for (uint32_t j = 1; j <= b_size; j++) {
			uint32_t best = diagonal + (a[i - 1] != b[j - 1]);

			diagonal = row[j];
			if (row[j] + 1 < best)
				best = row[j] + 1;
			if (row[j - 1] + 1 < best)
				best = row[j - 1] + 1;
			row[j] = best;
		}
	}
	return row[b_size];
}

/* The option that is most like this name, or NULL. The last part counts too: level for log-level. */
const struct setting *setting_similar(const char *name)
{
	const struct setting *best = NULL;
	uint32_t best_distance = 3;

	for (const struct setting *setting = settings; setting < settings + SETTING_COUNT; setting++) {
		const char *dash = strrchr(setting->name, '-');
		uint32_t distance = edit_distance(name, setting->name);

		if (dash != NULL && !strcmp(name, dash + 1))
			distance = 0;
		if (distance < best_distance) {
			best = setting;
			best_distance = distance;
		}
	}
	return best;
}

const char *setting_similar_section(const char *name)
{
	for (const struct setting *setting = settings; setting < settings + SETTING_COUNT; setting++)
		if (edit_distance(name, setting->section) < 3)
			return setting->section;
	return NULL;
}
