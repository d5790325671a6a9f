/* SPDX-License-Identifier: Apache-2.0 */
/* Scratch: the directory in which the benchmark keeps its store.
 *
 *     DIR/kvengine-bench   says that the benchmark made DIR: only then is it ever emptied
 *     DIR/store            the store
 *
 * Threading   One thread.
 * Ownership   None.
 * Errors      -ENOTEMPTY with a line on stderr: DIR holds something that the benchmark did not make; -errno.
 */
#ifndef KVRING_KVENGINE_SCRATCH_H
#define KVRING_KVENGINE_SCRATCH_H

#include <stddef.h>

/* Takes DIR for the benchmark, making it when it is not there. Sets the path of the store. */
__attribute__((warn_unused_result)) int scratch_open(const char *directory, char *store_out, size_t size);
/* Removes the store. */
__attribute__((warn_unused_result)) int scratch_empty(const char *store);

#endif
