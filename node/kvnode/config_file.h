/* SPDX-License-Identifier: Apache-2.0 */
/* Config file: the INI file of kvnode, into a configuration that has its initial values.
 *
 * Threading   one call at a time per struct.
 * Ownership   nothing is kept.
 * Errors      -EINVAL with a text that names file, line, key and what would be right; -errno when it cannot be read.
 * Invariants  every line is understood, or refused: unknown and doubled keys, keys in the wrong section, lines of no
 *             form or too long.
 */
#ifndef KVRING_NODE_CONFIG_FILE_H
#define KVRING_NODE_CONFIG_FILE_H

#include "node/kvnode/config.h"

__attribute__((warn_unused_result)) int config_file_load(struct node_config *, const char *path,
							 struct config_error *error_out);

#endif
