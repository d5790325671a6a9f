/* SPDX-License-Identifier: Apache-2.0 */
#include "node/kvnode/config.h"
#include "node/kvnode/config_file.h"
#include "node/kvnode/setting.h"

#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* ---- the whole ------------------------------------------------------------------------------------------------- */

static int refuse(struct config_error *why, const char *format, ...) __attribute__((format(printf, 2, 3)));

static int refuse(struct config_error *why, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(why->text, sizeof why->text, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

static void set_initial(struct node_config *config)
{
	struct setting_reason reason;

	memset(config, 0, sizeof *config);
	for (const struct setting *setting = settings; setting < settings + SETTING_COUNT; setting++)
		if (setting->initial != NULL && *setting->initial &&
		    !setting_parse(config, setting, setting->initial, &reason))
			abort(); /* the table is wrong */
}

static int check_required(const struct node_config *config, const char *path, struct config_error *why)
{
	for (const struct setting *setting = settings; setting < settings + SETTING_COUNT; setting++) {
		if (setting->initial != NULL || *((const char *)config + setting->offset))
			continue;
		if (path != NULL)
			return refuse(why, "config %.300s: '%s' is missing in [%s]; add it, or give --%s %s", path,
				      setting->name, setting->section, setting->name, setting->placeholder);
		return refuse(why, "--%s %s is missing (or '%s' in [%s] of a file given by --config)", setting->name,
			      setting->placeholder, setting->name, setting->section);
	}
	return 0;
}

/* out: the host of address with a port. Hosts are limited so that it fits. */
static int join(char *out, const char *host, size_t host_size, uint32_t port)
{
	int size = snprintf(out, CONFIG_ADDRESS_MAX, "%.*s:%" PRIu32, (int)host_size, host, port);

	return size < CONFIG_ADDRESS_MAX ? 0 : -EINVAL;
}

static int derive_listener(char *listener, const char *listen, uint32_t step, const char *flag,
			   struct config_error *why)
{
	if (*listener)
		return 0;
	if (address_port(listen) + step > 65535)
		return refuse(why, "listen %s leaves no port %" PRIu32 " above it for %s; give --%s or a lower port",
			      listen, step, flag, flag);
	if (join(listener, listen, address_host_size(listen), address_port(listen) + step))
		return refuse(why, "listen %s: the host is too long", listen);
	return 0;
}

static bool is_wildcard(const char *host)
{
	return !strcmp(host, "0.0.0.0") || !strcmp(host, "[::]");
}

static int derive_advertised(struct node_config *config, struct config_error *why)
{
	if (!*config->advertise) {
		snprintf(config->advertise, sizeof config->advertise, "%.*s", (int)address_host_size(config->listen),
			 config->listen);
		if (is_wildcard(config->advertise))
			return refuse(why,
				      "listen %s is every address of this machine, which others cannot dial: give "
				      "--advertise HOST",
				      config->listen);
	}
	if (is_wildcard(config->advertise))
		return refuse(why, "advertise %s is no address that others can dial", config->advertise);
	if (join(config->client_address, config->advertise, strlen(config->advertise), address_port(config->listen)) ||
	    join(config->peer_address, config->advertise, strlen(config->advertise),
		 address_port(config->listen_peer)) ||
	    join(config->bus_address, config->advertise, strlen(config->advertise), address_port(config->listen_bus)))
		return refuse(why, "advertise %s: the host is too long", config->advertise);
	return 0;
}

static int check_autoscale(const struct node_config *config, struct config_error *why)
{
	if (config->autoscale_low >= config->autoscale_high)
		return refuse(why,
			      "autoscale-low %" PRIu32 " must be less than autoscale-high %" PRIu32
			      ": lower the one or raise the other",
			      config->autoscale_low, config->autoscale_high);
	if (config->autoscale_min > config->autoscale_max)
		return refuse(why,
			      "autoscale-min %" PRIu32 " is more than autoscale-max %" PRIu32
			      ": lower the one or raise the other",
			      config->autoscale_min, config->autoscale_max);
	return 0;
}

static int finish(struct node_config *config, const char *path, struct config_error *why)
{
	int error = check_required(config, path, why);

	if (!error)
		error = derive_listener(config->listen_peer, config->listen, 1, "listen-peer", why);
	if (!error)
		error = derive_listener(config->listen_bus, config->listen, 2, "listen-bus", why);
	if (!error && (!strcmp(config->listen, config->listen_peer) || !strcmp(config->listen, config->listen_bus) ||
		       !strcmp(config->listen_peer, config->listen_bus)))
		error = refuse(why, "listen %s, listen-peer %s and listen-bus %s must differ", config->listen,
			       config->listen_peer, config->listen_bus);
	if (!error)
		error = check_autoscale(config, why);
	return error ? error : derive_advertised(config, why);
}

void config_print(const struct node_config *config, FILE *file)
{
	const char *section = "";

	for (const struct setting *setting = settings; setting < settings + SETTING_COUNT; setting++) {
		if (strcmp(section, setting->section))
			fprintf(file, "%s[%s]\n", *section ? "\n" : "", setting->section);
		section = setting->section;
		fprintf(file, "# %s\n", setting->help);
		if (setting->type == SETTING_SEED) {
			for (uint32_t i = 0; i < config->seed_count; i++)
				fprintf(file, "%s = %s\n", setting->name, config->seeds[i]);
			continue;
		}
		fprintf(file, "%s = ", setting->name);
		setting_print(config, setting, file);
		fprintf(file, "\n");
	}
}

/* ---- the arguments --------------------------------------------------------------------------------------------- */

enum { KEY_CONFIG = 0x100, KEY_PRINT, KEY_CHECK, KEY_ACCEPT, KEY_SETTINGS };

struct flag {
	const struct setting *setting;
	const char *value;
};

enum { FLAGS_MAX = SETTING_COUNT + CONFIG_SEEDS_MAX };

struct arguments {
	const char *path;
	bool print, check, accept_restored;
	struct flag flags[FLAGS_MAX]; /* kept until the file has been read */
	uint32_t flag_count;
	struct config_error *why;
	bool failed;
};

/* The first complaint stands. */
static void __attribute__((format(printf, 2, 3))) refuse_argument(struct arguments *arguments, const char *format, ...)
{
	va_list values;

	va_start(values, format);
	if (!arguments->failed)
		vsnprintf(arguments->why->text, sizeof arguments->why->text, format, values);
	va_end(values);
	arguments->failed = true;
}

static void keep_flag(struct arguments *arguments, const struct setting *setting, const char *value)
{
	for (uint32_t i = 0; i < arguments->flag_count; i++) {
		if (arguments->flags[i].setting == setting && setting->type != SETTING_SEED) {
			refuse_argument(arguments, "--%s is given twice", setting->name);
			return;
		}
	}
	if (arguments->flag_count == FLAGS_MAX)
		refuse_argument(arguments, "--%s is one flag too many", setting->name);
	else
		arguments->flags[arguments->flag_count++] = (struct flag){setting, value};
}

static error_t take_argument(int key, char *value, struct argp_state *state)
{
	struct arguments *arguments = state->input;

	switch (key) {
	case KEY_CONFIG:
		if (arguments->path != NULL)
			refuse_argument(arguments, "--config is given twice");
		arguments->path = value;
		return 0;
	case KEY_PRINT:
		arguments->print = true;
		return 0;
	case KEY_CHECK:
		arguments->check = true;
		return 0;
	case KEY_ACCEPT:
		arguments->accept_restored = true;
		return 0;
	case ARGP_KEY_ARG:
		refuse_argument(arguments, "'%.100s' is no flag; kvnode takes flags only, see --help", value);
		return 0;
	}
	if (key < KEY_SETTINGS || key >= KEY_SETTINGS + SETTING_COUNT)
		return ARGP_ERR_UNKNOWN;
	keep_flag(arguments, &settings[key - KEY_SETTINGS], value);
	return 0;
}

enum { HELP_MAX = 256 };

/* The help of an option with what it is when not given. */
static const char *help_of(const struct setting *setting, char text[HELP_MAX])
{
	if (setting->initial == NULL)
		snprintf(text, HELP_MAX, "%s (required)", setting->help);
	else if (*setting->initial)
		snprintf(text, HELP_MAX, "%s (default %s)", setting->help, setting->initial);
	else
		snprintf(text, HELP_MAX, "%s", setting->help);
	return text;
}

/* Rows for argp: our own flags, then a heading per section and its options. */
static void make_argp_options(struct argp_option *rows, char help[][HELP_MAX])
{
	const char *section = "";
	int group = 1;

	*rows++ =
		(struct argp_option){"config", KEY_CONFIG, "FILE", 0, "read this INI file; flags go before it", group};
	*rows++ = (struct argp_option){
		"print-config", KEY_PRINT, NULL, 0, "print the configuration as a file, and exit", group};
	*rows++ = (struct argp_option){"check-config", KEY_CHECK, NULL, 0, "check the configuration, and exit", group};
	*rows++ = (struct argp_option){
		"accept-restored",
		KEY_ACCEPT,
		NULL,
		0,
		"this data directory went back in time, and what it lacked has been brought back by reads "
		"of every key at r=N: reads count this node again. Not for good: give it for one start",
		group};
	for (int i = 0; i < SETTING_COUNT; i++) {
		const struct setting *setting = &settings[i];

		if (strcmp(section, setting->section)) {
			section = setting->section;
			snprintf(help[SETTING_COUNT + group - 1], HELP_MAX, "[%s]", section);
			group++;
			*rows++ = (struct argp_option){NULL, 0, NULL, 0, help[SETTING_COUNT + group - 2], group};
		}
		*rows++ = (struct argp_option){
			setting->name, KEY_SETTINGS + i, setting->placeholder, 0, help_of(setting, help[i]), group};
	}
}

static int parse_arguments(int argc, char **argv, struct arguments *arguments)
{
	static struct argp_option rows[4 + 2 * SETTING_COUNT + 1];
	static char help[2 * SETTING_COUNT][HELP_MAX];
	const struct argp argp = {
		.options = rows,
		.parser = take_argument,
		.doc = "kvring node: a member of a leaderless replicated key-value store."
		       "\vIn the file, options are keys in their [section], without the dashes. Exit code 2: the "
		       "configuration is wrong.",
	};

	make_argp_options(rows, help);
	argp_program_version = "kvnode " KVRING_VERSION;
	argp_err_exit_status = CONFIG_EXIT_WRONG;
	argp_parse(&argp, argc, argv, 0, NULL, arguments); /* ends the process at an unknown flag */
	return arguments->failed ? -EINVAL : 0;
}

static int apply_flags(struct node_config *config, const struct arguments *arguments, struct config_error *why)
{
	struct setting_reason reason;
	bool seeded = false;

	for (uint32_t i = 0; i < arguments->flag_count; i++) {
		const struct flag *flag = &arguments->flags[i];

		if (flag->setting->type == SETTING_SEED && !seeded) {
			memset(config->seeds, 0, sizeof config->seeds);
			config->seed_count = 0; /* of the file */
			seeded = true;
		}
		if (!setting_parse(config, flag->setting, flag->value, &reason))
			return refuse(why, "--%s %.300s: %s", flag->setting->name, flag->value, reason.text);
	}
	return 0;
}

static int configure(int argc, char **argv, struct arguments *arguments, struct node_config *out)
{
	int error = parse_arguments(argc, argv, arguments);

	set_initial(out);
	if (!error && arguments->path != NULL)
		error = config_file_load(out, arguments->path, arguments->why);
	if (!error)
		error = apply_flags(out, arguments, arguments->why);
	out->accept_restored = arguments->accept_restored;
	return error ? error : finish(out, arguments->path, arguments->why);
}

int config_read_again(int argc, char **argv, struct node_config *out, struct config_error *error_out)
{
	struct arguments arguments = {.why = error_out};

	return configure(argc, argv, &arguments, out);
}

int config_from_arguments(int argc, char **argv, struct node_config *out)
{
	struct config_error why = {""};
	struct arguments arguments = {.why = &why};

	if (configure(argc, argv, &arguments, out)) {
		fprintf(stderr, "kvnode: %s\n", why.text);
		return CONFIG_EXIT_WRONG;
	}
	if (!arguments.print && !arguments.check)
		return -1;
	if (arguments.print)
		config_print(out, stdout);
	else
		printf("the configuration is right\n");
	if (fflush(stdout) == 0 && !ferror(stdout))
		return 0;
	fprintf(stderr, "kvnode: the result could not be written to stdout: %s\n", strerror(errno));
	return EXIT_FAILURE;
}
