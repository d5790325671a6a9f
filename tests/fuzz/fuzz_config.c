/* SPDX-License-Identifier: Apache-2.0 */
/* kvnode's INI file. What is refused has a reason of one line; what is accepted, printed and read back, is the same. */
#include "node/kvnode/config.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* As a file without a name. */
static int load(const void *data, size_t size, struct node_config *config, struct config_error *error)
{
	int file = memfd_create("config", MFD_CLOEXEC);
	char path[64];
	int rc;

	assert(file >= 0);
	assert(write(file, data, size) == (ssize_t)size);
	snprintf(path, sizeof path, "/proc/self/fd/%d", file);
	rc = config_read_again(3, (char *[]){"kvnode", "--config", path, NULL}, config, error);
	close(file);
	return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct node_config config, again;
	struct config_error error = {""};
	char *printed = NULL;
	size_t printed_size = 0;
	FILE *file;

	if (load(data, size, &config, &error)) {
		assert(error.text[0]);
		for (const char *at = error.text; *at; at++)
			assert((unsigned char)*at >= ' ' && *at != 0x7f);
		return 0;
	}
	file = open_memstream(&printed, &printed_size);
	assert(file != NULL);
	config_print(&config, file);
	fclose(file);
	assert(load(printed, printed_size, &again, &error) == 0);
	assert(!memcmp(&config, &again, sizeof config));
	free(printed);
	return 0;
}
