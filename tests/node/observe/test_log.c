/* SPDX-License-Identifier: Apache-2.0 */
/* Log: one line per call, whole, cut when long, never more than one line. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "node/observe/log.h"

static int pipe_fds[2];

static size_t read_line(char *into, size_t size)
{
	ssize_t got = read(pipe_fds[0], into, size - 1);
	assert_true(got > 0);
	into[got] = 0;
	return (size_t)got;
}

static void test_line_has_time_level_name_and_text(void **state)
{
	(void)state;
	char line[LOG_LINE_MAX + 2];
	log_open("n1", LOG_LEVEL_INFO);
	log_warn("gossip: member unreachable peer=%s", "n2");
	read_line(line, sizeof line);
	assert_int_equal(line[10], 'T');
	assert_string_equal(line + 23, "Z WARN  n1 gossip: member unreachable peer=n2\n");
}

static void test_lower_levels_are_silent(void **state)
{
	(void)state;
	char line[LOG_LINE_MAX + 2];
	log_open("n1", LOG_LEVEL_WARN);
	log_info("not this");
	log_error("but this");
	read_line(line, sizeof line);
	assert_null(strstr(line, "not this"));
	assert_non_null(strstr(line, "ERROR n1 but this\n"));
}

static void test_long_line_is_cut(void **state)
{
	(void)state;
	char line[LOG_LINE_MAX + 2], text[4 * LOG_LINE_MAX];
	memset(text, 'x', sizeof text);
	text[sizeof text - 1] = 0;
	log_open("n1", LOG_LEVEL_INFO);
	log_info("%s", text);
	size_t length = read_line(line, sizeof line);
	assert_true(length <= LOG_LINE_MAX);
	assert_string_equal(line + length - 4, "...\n");
}

static void test_text_cannot_forge_a_line(void **state)
{
	(void)state;
	char line[LOG_LINE_MAX + 2], text[LOG_LINE_MAX];
	log_open("n1", LOG_LEVEL_INFO);
	log_info("name=%s", "a\n2026-01-01T00:00:00.000Z ERROR n1 forged");
	size_t length = read_line(line, sizeof line);
	assert_ptr_equal(strchr(line, '\n'), line + length - 1);
	assert_non_null(strstr(line, " n1 name=a\\x0a2026-01-01T"));
	log_info("name=%s", "\x1b[2J\x7f \xc3\xa9");
	read_line(line, sizeof line);
	assert_non_null(strstr(line, " n1 name=\\x1b[2J\\x7f \xc3\xa9\n"));
	memset(text, '\n', sizeof text - 1); /* four bytes each */
	text[sizeof text - 1] = 0;
	log_info("%s", text);
	assert_int_equal(read_line(line, sizeof line), LOG_LINE_MAX);
}

static void test_errno_survives(void **state)
{
	(void)state;
	char line[LOG_LINE_MAX + 2];
	errno = ENOTTY;
	log_info("anything");
	assert_int_equal(errno, ENOTTY);
	read_line(line, sizeof line);
}

static size_t count_in(const char *text, const char *what)
{
	size_t found = 0;
	for (; (text = strstr(text, what)) != NULL; text += strlen(what))
		found++;
	return found;
}

/* All that is in the pipe, without waiting for more. */
static const char *read_all(void)
{
	static char text[256 * 1024];
	size_t length = 0;
	ssize_t got;
	assert_int_equal(fcntl(pipe_fds[0], F_SETFL, O_NONBLOCK), 0);
	while ((got = read(pipe_fds[0], text + length, sizeof text - 1 - length)) > 0)
		length += (size_t)got;
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(fcntl(pipe_fds[0], F_SETFL, 0), 0);
	text[length] = 0;
	return text;
}

/* Nobody reads: the writer must come back, and say later what was lost. A hang here is the failure. */
static void test_full_pipe_drops_and_tells(void **state)
{
	(void)state;
	char expected[100];
	uint64_t before = log_dropped();
	log_open("n1", LOG_LEVEL_INFO);
	for (int i = 0; i < 5000; i++)
		log_info("flood: line=%d", i);
	uint64_t dropped = log_dropped() - before;
	assert_in_range(dropped, 1, 4999);
	assert_int_equal(count_in(read_all(), "\n") + dropped, 5000);

	log_info("after: again");
	const char *text = read_all();
	snprintf(expected, sizeof expected, "Z WARN  n1 log: lines dropped count=%llu\n", (unsigned long long)dropped);
	assert_memory_equal(text + 23, expected, strlen(expected));
	assert_non_null(strstr(text, "Z INFO  n1 after: again\n"));
	assert_int_equal(count_in(text, "\n"), 2);
	log_info("after: told once");
	assert_int_equal(count_in(read_all(), "dropped"), 0);
}

/* SIGPIPE would end this program. */
static void test_reader_that_is_gone(void **state)
{
	(void)state;
	int gone[2];
	uint64_t before = log_dropped();
	assert_int_equal(pipe(gone), 0);
	close(gone[0]);
	log_to(gone[1]);
	log_info("nobody hears this");
	log_to(pipe_fds[1]);
	assert_int_equal(log_dropped(), before + 1);
	close(gone[1]);
	log_info("but this");
	assert_int_equal(count_in(read_all(), "\n"), 2);
}

enum { THREADS = 4, LINES = 100 };

static void *write_lines(void *name)
{
	for (int i = 0; i < LINES; i++)
		log_info("thread: name=%s i=%d end", (const char *)name, i);
	return NULL;
}

static void test_lines_of_threads_do_not_mix(void **state)
{
	(void)state;
	static char names[THREADS][2] = {"a", "b", "c", "d"};
	pthread_t threads[THREADS];
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, write_lines, names[i]), 0);
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	const char *text = read_all();
	assert_int_equal(count_in(text, "\n"), THREADS * LINES);
	assert_int_equal(count_in(text, "Z INFO  n1 thread: name="), THREADS * LINES);
	assert_int_equal(count_in(text, " end\n2"), THREADS * LINES - 1);
}

static void test_limit_counts_what_it_leaves_out(void **state)
{
	(void)state;
	struct log_limit limit = {0};
	uint32_t suppressed = 99;
	assert_true(log_limit_pass(&limit, 1000, 500, &suppressed));
	assert_int_equal(suppressed, 0);
	assert_false(log_limit_pass(&limit, 1200, 500, &suppressed));
	assert_false(log_limit_pass(&limit, 1499, 500, &suppressed));
	assert_true(log_limit_pass(&limit, 1500, 500, &suppressed));
	assert_int_equal(suppressed, 2);
}

static void test_level_names(void **state)
{
	(void)state;
	enum log_level level;
	assert_true(log_level_parse("warn", &level));
	assert_int_equal(level, LOG_LEVEL_WARN);
	assert_false(log_level_parse("loud", &level));
	for (int i = LOG_LEVEL_DEBUG; i <= LOG_LEVEL_ERROR; i++) {
		assert_true(log_level_parse(log_level_name((enum log_level)i), &level));
		assert_int_equal(level, i);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line_has_time_level_name_and_text),
		cmocka_unit_test(test_lower_levels_are_silent),
		cmocka_unit_test(test_long_line_is_cut),
		cmocka_unit_test(test_text_cannot_forge_a_line),
		cmocka_unit_test(test_errno_survives),
		cmocka_unit_test(test_full_pipe_drops_and_tells),
		cmocka_unit_test(test_reader_that_is_gone),
		cmocka_unit_test(test_lines_of_threads_do_not_mix),
		cmocka_unit_test(test_limit_counts_what_it_leaves_out),
		cmocka_unit_test(test_level_names),
	};
	if (pipe(pipe_fds) != 0)
		return 1;
	log_to(pipe_fds[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
