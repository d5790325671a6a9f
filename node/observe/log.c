/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>
#include "node/observe/log.h"
#include "rpc/lock.h"

_Static_assert(LOG_LINE_MAX <= PIPE_BUF, "a line goes into a pipe in one piece, or not at all");

static struct {
	/* constant once threads run */
	char name[64];
	int fd;

	_Atomic int lowest; /* enum log_level */
	_Atomic uint64_t dropped;

	/* Between poll and write nobody else of this process may fill the pipe. Held for these two calls; neither
	 * waits. */
	struct lock lock;
	uint64_t dropped_told GUARDED; /* how many of dropped a line has told */
} out = {.lowest = LOG_LEVEL_INFO, .fd = STDERR_FILENO, .lock = LOCK_INITIALIZER};

static const char *const levels[] = {"debug", "info", "warn", "error"};
static const char *const columns[] = {"DEBUG", "INFO ", "WARN ", "ERROR"};

void log_open(const char *name, enum log_level lowest)
{
	snprintf(out.name, sizeof out.name, "%s", name);
	log_set_level(lowest);
}

void log_set_level(enum log_level lowest)
{
	atomic_store_explicit(&out.lowest, (int)lowest, memory_order_relaxed);
}

void log_to(int fd)
{
	out.fd = fd;
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

const char *log_level_name(enum log_level level)
{
	return levels[level];
}

uint64_t log_dropped(void)
{
	return atomic_load_explicit(&out.dropped, memory_order_relaxed);
}

/* ---- the line -------------------------------------------------------------------------------------------------- */

struct line {
	size_t length;
	char bytes[LOG_LINE_MAX];
};

/* Time, level and node. */
static void begin_line(struct line *line, enum log_level level)
{
	struct timespec now;
	struct tm utc;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &utc);
	line->length = strftime(line->bytes, sizeof line->bytes, "%Y-%m-%dT%H:%M:%S", &utc);
	line->length +=
		(size_t)snprintf(line->bytes + line->length, sizeof line->bytes - line->length, ".%03ldZ %s %s ",
				 now.tv_nsec / 1000000, columns[level], out.name[0] ? out.name : "-");
}

static void append_byte(struct line *line, char byte)
{
	if (line->length < sizeof line->bytes - 1) /* the last one is for the line break */
		line->bytes[line->length++] = byte;
}

/* A name or text from outside must not forge a second line, nor speak to a terminal. UTF-8 passes. */
static void append(struct line *line, const char *text)
{
	static const char digits[] = "0123456789abcdef";
	for (; *text; text++) {
		unsigned char byte = (unsigned char)*text;
		if (byte >= ' ' && byte != 0x7f) {
			append_byte(line, *text);
			continue;
		}
		append_byte(line, '\\');
		append_byte(line, 'x');
		append_byte(line, digits[byte >> 4]);
		append_byte(line, digits[byte & 15]);
	}
}

static void end_line(struct line *line)
{
	if (line->length == sizeof line->bytes - 1) /* cut */
		memcpy(line->bytes + line->length - 3, "...", 3);
	line->bytes[line->length++] = '\n';
}

/* ---- the way out ----------------------------------------------------------------------------------------------- */

/* False when it would have to wait, or when nobody is left to read. */
static bool emit(const struct line *line) REQUIRES(out.lock);
static bool emit(const struct line *line)
{
	struct pollfd target = {.fd = out.fd, .events = POLLOUT};
	ssize_t written;
	if (poll(&target, 1, 0) != 1 || target.revents != POLLOUT)
		return false;
	do
		written = write(out.fd, line->bytes, line->length);
	while (written < 0 && errno == EINTR);
	return written == (ssize_t)line->length;
}

/* False when there is no room to tell. */
static bool tell_dropped(void) REQUIRES(out.lock);
static bool tell_dropped(void)
{
	struct line line;
	char text[64];
	uint64_t dropped = log_dropped();
	if (dropped == out.dropped_told)
		return true;
	begin_line(&line, LOG_LEVEL_WARN);
	snprintf(text, sizeof text, "log: lines dropped count=%llu", (unsigned long long)(dropped - out.dropped_told));
	append(&line, text);
	end_line(&line);
	if (!emit(&line))
		return false;
	out.dropped_told = dropped;
	return true;
}

void log_write(enum log_level level, const char *format, ...)
{
	struct line line;
	char text[LOG_LINE_MAX];
	if ((int)level < atomic_load_explicit(&out.lowest, memory_order_relaxed))
		return;
	int saved_errno = errno;
	va_list arguments;
	va_start(arguments, format);
	int wanted = vsnprintf(text, sizeof text, format, arguments);
	va_end(arguments);
	if (wanted >= 0) {
		begin_line(&line, level);
		append(&line, text);
		end_line(&line);
		lock_take(&out.lock);
		if (!tell_dropped() || !emit(&line))
			atomic_fetch_add_explicit(&out.dropped, 1, memory_order_relaxed);
		lock_release(&out.lock);
	}
	errno = saved_errno;
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
