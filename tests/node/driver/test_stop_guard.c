/* SPDX-License-Identifier: Apache-2.0 */
/* A part of the stop that ends is let be; one that does not ends with the process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "node/driver/stop_guard.h"

/* Returns the exit status of a process that does the guarded part. */
static int status_of(uint32_t limit_ms, bool ends)
{
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		struct stop_guard guard;
		stop_guard_begin(&guard, "a test", limit_ms);
		while (!ends)
			pause();
		stop_guard_end(&guard);
		_exit(7);
	}
	int status;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void test_what_ends_is_let_be(void **state)
{
	(void)state;
	assert_int_equal(status_of(60 * 1000, true), 7);
}

static void test_what_does_not_end_ends_with_the_process(void **state)
{
	(void)state;
	assert_int_equal(status_of(50, false), EXIT_FAILURE);
	assert_int_equal(status_of(1950, false), EXIT_FAILURE); /* over the second */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_ends_is_let_be),
		cmocka_unit_test(test_what_does_not_end_ends_with_the_process),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
