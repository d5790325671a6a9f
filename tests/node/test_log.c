/* Log: one line per call, whole, cut when long, never more than one line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include "log.h"

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
	char line[LOG_LINE_MAX + 2];
	log_open("n1", LOG_LEVEL_INFO);
	log_info("name=%s", "a\n2026-01-01T00:00:00.000Z ERROR n1 forged");
	size_t length = read_line(line, sizeof line);
	assert_ptr_equal(strchr(line, '\n'), line + length - 1);
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
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_line_has_time_level_name_and_text),
		cmocka_unit_test(test_lower_levels_are_silent),
		cmocka_unit_test(test_long_line_is_cut),
		cmocka_unit_test(test_text_cannot_forge_a_line),
		cmocka_unit_test(test_limit_counts_what_it_leaves_out),
		cmocka_unit_test(test_level_names),
	};
	if (pipe(pipe_fds) != 0)
		return 1;
	log_to(pipe_fds[1]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
