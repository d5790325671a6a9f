/* SPDX-License-Identifier: Apache-2.0 */
/* Manifest edit: the bytes of a change, as manifest.h gives them. A whole state is an edit of an empty one.
 *
 * Threading   Pure functions.
 * Errors      -ENOMEM; -EBADMSG for bytes that cannot be read or do not fit the state.
 */
#ifndef KVRING_ENGINE_MANIFEST_EDIT_H
#define KVRING_ENGINE_MANIFEST_EDIT_H

#include "engine/disk/buffer.h"
#include "engine/state/manifest_state.h"

ENGINE_OK int manifest_edit_encode(const struct manifest_edit *, struct buffer *out);
ENGINE_OK int manifest_state_encode(const struct manifest_state *, struct buffer *out);
/* Changes the state by the edit in these bytes. After an error the state is of no use. */
ENGINE_OK int manifest_edit_decode(const uint8_t *bytes, size_t size, struct manifest_state *);

#endif
