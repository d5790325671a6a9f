#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>
#include "log.h"

static struct {
	char name[64];
	enum log_level lowest;
	int fd;
} out = {.lowest = LOG_LEVEL_INFO, .fd = STDERR_FILENO};

static const char *const level_names[] = {"debug", "info", "warn", "error"};
static const char *const levels[] = {"DEBUG", "INFO", "WARN", "ERROR"};

void log_open(const char *name, enum log_level lowest)
{
	snprintf(out.name, sizeof out.name, "%s", name);
	out.lowest = lowest;
}

void log_to(int fd)
{
	out.fd = fd;
}

const char *log_level_name(enum log_level level)
{
	return level_names[level];
}

bool log_level_parse(const char *text, enum log_level *level_out)
{
	for (int level = LOG_LEVEL_DEBUG; level <= LOG_LEVEL_ERROR; level++)
		if (strcasecmp(text, levels[level]) == 0) {
			*level_out = (enum log_level)level;
			return true;
		}
	return false;
}

/* Time, level and node; returns the length. */
static size_t begin_line(char *line, size_t size, enum log_level level)
{
	struct timespec now;
	struct tm utc;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	size_t length = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &utc);
	length += (size_t)snprintf(line + length, size - length, ".%03ldZ %-5s %s ", now.tv_nsec / 1000000, levels[level],
				   out.name[0] ? out.name : "-");
	return length;
}

/* A name or text from outside must not forge a second line. */
static void flatten(char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < ' ')
			*text = ' ';
}

void log_write(enum log_level level, const char *format, ...)
{
	char line[LOG_LINE_MAX + 1];
	if (level < out.lowest)
		return;
	size_t length = begin_line(line, sizeof line, level);
	va_list arguments;
	va_start(arguments, format);
	int wanted = vsnprintf(line + length, sizeof line - length - 1, format, arguments);
	va_end(arguments);
	if (wanted < 0)
		return;
	flatten(line + length);
	if (length + (size_t)wanted >= sizeof line - 1)
		strcpy(line + sizeof line - 5, "...");
	length = strlen(line);
	line[length++] = '\n';
	(void)!write(out.fd, line, length);
}

bool log_limit_pass(struct log_limit *limit, uint64_t now_us, uint64_t interval_us, uint32_t *suppressed_out)
{
	if (now_us < limit->until_us) {
		limit->suppressed++;
		return false;
	}
	*suppressed_out = limit->suppressed;
	limit->suppressed = 0;
	limit->until_us = now_us + interval_us;
	return true;
}
