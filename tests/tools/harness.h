/* SPDX-License-Identifier: Apache-2.0 */
/* What every unit test of the tools includes. */
#ifndef KVRING_TESTS_TOOLS_HARNESS_H
#define KVRING_TESTS_TOOLS_HARNESS_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

/* A file with this text; its path is in *path_out, to be freed. */
static inline void write_temporary(const char *text, size_t size, char **path_out)
{
	const char *directory = getenv("TMPDIR");
	if (asprintf(path_out, "%s/kvring-test-XXXXXX", directory ? directory : "/tmp") < 0)
		abort();
	int fd = mkstemp(*path_out);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, size), size);
	close(fd);
}

static inline void remove_temporary(char *path)
{
	unlink(path);
	free(path);
}

#endif
