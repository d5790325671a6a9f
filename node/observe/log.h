/* SPDX-License-Identifier: Apache-2.0 */
/* Log: structured lines on stderr, for people and for grep.
 *
 *     2026-11-23T16:40:01.123Z INFO  n1 gossip: member up peer=n2 address=127.0.0.1:7101
 *
 * One line is one write(2), so lines of threads and processes never mix. The room or actor comes first, then what
 * happened, then key=value. A value with blanks is quoted by who logs it. Control characters are written as \xNN.
 *
 * Threading   log_open and log_to before threads start; log_write: any thread.
 * Errors      None. A line that a full pipe does not take at once, or that nobody reads any more, is dropped, and the
 *             next line that passes is preceded by how many were: a reader that stalls never stalls the node.
 */
#ifndef KVRING_NODE_LOG_H
#define KVRING_NODE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

enum { LOG_LINE_MAX = 2048 }; /* bytes with the line break, below PIPE_BUF; longer lines are cut and end in "..." */

/* name: of the node, in every line. The default level is INFO. */
void log_open(const char *name, enum log_level lowest);
/* Any thread. */
void log_set_level(enum log_level lowest);
/* For tests: another file descriptor than stderr's. */
void log_to(int fd);
bool log_level_parse(const char *text, enum log_level *out);
const char *log_level_name(enum log_level); /* "debug", "info", "warn", "error" */
/* Lines, since the process started. */
uint64_t log_dropped(void);
void log_write(enum log_level, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* At most one line per interval from one place; what was left out is counted in the next. */
struct log_limit {
	uint64_t until_us;
	uint32_t suppressed;
};
/* True when a line may be written now; *suppressed_out says how many were not. One thread per struct. */
bool log_limit_pass(struct log_limit *, uint64_t now_us, uint64_t interval_us, uint32_t *suppressed_out);

#define log_debug(...) log_write(LOG_LEVEL_DEBUG, __VA_ARGS__)
#define log_info(...)  log_write(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_warn(...)  log_write(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_error(...) log_write(LOG_LEVEL_ERROR, __VA_ARGS__)

#endif
