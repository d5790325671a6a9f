/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/output/output.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void output_open(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && errno == EBADF)
			(void)open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY); /* takes the lowest: fd */
	signal(SIGXFSZ, SIG_IGN); /* a file over its limit of size: writing fails, and is told */
}

bool output_close(const char *program)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return true;
	fprintf(stderr, "%s: the result could not be written to stdout: %s\n", program,
		errno ? strerror(errno) : "is its disk full, or nobody there to read it?");
	return false;
}
