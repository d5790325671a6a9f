/* SPDX-License-Identifier: Apache-2.0 */
/* A disk whose syncs fail while the file named by KVRING_FAIL_SYNC exists: preloaded into a node (LD_PRELOAD). */
#include <dlfcn.h>
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

int fdatasync(int fd)
{
	const char *path = getenv("KVRING_FAIL_SYNC");
	int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
	if (path == NULL || access(path, F_OK) != 0)
		return real(fd);
	errno = EIO;
	return -1;
}
