/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/value.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Reads to the end or to limit bytes. */
static int read_all(int fd, size_t limit, uint8_t **bytes_out, size_t *size_out)
{
	uint8_t *bytes = NULL;
	size_t size = 0, room = 0;
	for (;;) {
		if (size == room) {
			room = room ? room * 2 : 64 * 1024;
			uint8_t *more = realloc(bytes, room);
			if (more == NULL) {
				free(bytes);
				return -ENOMEM;
			}
			bytes = more;
		}
		ssize_t count = read(fd, bytes + size, room - size);
		if (count < 0 && errno == EINTR)
			continue;
		if (count < 0 || size + (size_t)count > limit) {
			int error = count < 0 ? -errno : -EFBIG;
			free(bytes);
			return error;
		}
		if (count == 0)
			break;
		size += (size_t)count;
	}
	*bytes_out = bytes;
	*size_out = size;
	return 0;
}

int value_read_file(const char *path, uint8_t **bytes_out, size_t *size_out, struct rpc_error *error_out)
{
	bool from_stdin = !strcmp(path, "-");
	const char *name = from_stdin ? "stdin" : path;
	int fd = from_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	int error = fd < 0 ? -errno : read_all(fd, VALUE_READ_MAX, bytes_out, size_out);
	if (fd >= 0 && !from_stdin)
		close(fd);
	if (error == -EFBIG)
		snprintf(error_out->text, sizeof error_out->text,
			 "%s has more than %d bytes: no node takes a value of that size", name, VALUE_READ_MAX);
	else if (error < 0)
		snprintf(error_out->text, sizeof error_out->text, "cannot read %s: %s", name, strerror(-error));
	return error;
}
