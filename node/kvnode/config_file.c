/* SPDX-License-Identifier: Apache-2.0 */
#include "node/kvnode/config_file.h"
#include "node/kvnode/setting.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#include <ini.h>

struct loader {
	struct node_config *config;
	const char *path;
	FILE *file;
	int line;                    /* read last */
	bool failed;                 /* the first complaint stands */
	int given_at[SETTING_COUNT]; /* line, 0: not in the file */
	struct config_error *why;
};

__attribute__((format(printf, 2, 3))) static int complain(struct loader *loader, const char *format, ...)
{
	char what[600];
	va_list arguments;

	if (loader->failed)
		return 0;
	va_start(arguments, format);
	vsnprintf(what, sizeof what, format, arguments);
	va_end(arguments);
	for (char *at = what; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f) /* what the file says must not speak to a terminal */
			*at = '?';
	loader->failed = true;
	snprintf(loader->why->text, sizeof loader->why->text, "config %.300s:%d: %s", loader->path, loader->line, what);
	return 0; /* an error, to inih */
}

/* One line for inih, whose buffer would silently split a long one in two. */
static char *read_line(char *buffer, int size, void *stream)
{
	struct loader *loader = stream;
	size_t length;

	if (loader->failed || fgets(buffer, size, loader->file) == NULL)
		return NULL;
	loader->line++;
	length = strlen(buffer);
	if (length + 1 == (size_t)size && buffer[length - 1] != '\n' && !feof(loader->file)) {
		complain(loader, "the line is longer than %d bytes", CONFIG_LINE_MAX);
		return NULL;
	}
	if (!feof(loader->file) && (length == 0 || buffer[length - 1] != '\n')) {
		complain(loader, "the line has a byte 0: this is no text file");
		return NULL;
	}
	return buffer;
}

static int complain_about_section(struct loader *loader, const char *section, const char *key)
{
	const char *similar = setting_similar_section(section);

	if (!*section)
		return complain(loader, "key '%.40s' stands before any [section]; begin with [%s]", key,
				settings[0].section);
	if (similar != NULL)
		return complain(loader, "unknown section [%.40s]; did you mean [%s]?", section, similar);
	return complain(loader,
			"unknown section [%.40s]; there are [node], [network], [threads], [storage], [autoscale], "
			"[log] and [requests]",
			section);
}

static int complain_about_key(struct loader *loader, const char *section, const char *key)
{
	const struct setting *similar = setting_similar(key);

	if (similar != NULL && !strcmp(similar->name, key))
		return complain(loader, "key '%s' belongs in [%s], not in [%s]", key, similar->section, section);
	if (similar != NULL)
		return complain(loader, "unknown key '%.40s' in [%s]; did you mean '%s'%s%s%s?", key, section,
				similar->name, strcmp(similar->section, section) ? " in [" : "",
				strcmp(similar->section, section) ? similar->section : "",
				strcmp(similar->section, section) ? "]" : "");
	return complain(loader, "unknown key '%.40s' in [%s]; kvnode --help lists all", key, section);
}

static int take_key(void *user, const char *section, const char *key, const char *value)
{
	struct loader *loader = user;
	bool section_is_known = false;
	struct setting_reason reason;

	for (int i = 0; i < SETTING_COUNT; i++) {
		const struct setting *setting = &settings[i];

		if (strcmp(setting->section, section))
			continue;
		section_is_known = true;
		if (strcmp(setting->name, key))
			continue;
		if (loader->given_at[i] && setting->type != SETTING_SEED)
			return complain(loader, "key '%s' in [%s] is given twice; the first time in line %d", key,
					section, loader->given_at[i]);
		loader->given_at[i] = loader->line;
		if (!*value && setting->initial != NULL && !*setting->initial && setting->type != SETTING_SEED)
			return 1; /* left empty: derived */
		if (!setting_parse(loader->config, setting, value, &reason))
			return complain(loader, "%s = %.120s in [%s]: %s", key, value, section, reason.text);
		return 1;
	}
	return section_is_known ? complain_about_key(loader, section, key)
				: complain_about_section(loader, section, key);
}

int config_file_load(struct node_config *config, const char *path, struct config_error *why)
{
	struct loader loader = {.config = config, .path = path, .why = why};
	int error;

	loader.file = fopen(path, "re");
	if (loader.file == NULL) {
		error = -errno;
		snprintf(why->text, sizeof why->text, "config %.300s: cannot read it: %s", path, strerror(errno));
		return error;
	}
	int line = ini_parse_stream(read_line, &loader, take_key, &loader);
	if (!loader.failed && ferror(loader.file)) {
		loader.line++;
		complain(&loader, "cannot read on: %s", strerror(errno));
	}
	fclose(loader.file);
	if (line > 0 && (!loader.failed || line < loader.line)) { /* before any complaint of ours: a line of no form */
		loader.line = line;
		loader.failed = false;
		complain(&loader, "expected [section] or key = value");
	}
	return loader.failed ? -EINVAL : 0;
}
