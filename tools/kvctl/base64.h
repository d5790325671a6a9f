/* SPDX-License-Identifier: Apache-2.0 */
/* Base64url (RFC 4648 section 5) for contexts, keys and values that are no text.
 *
 * Threading   Pure functions.
 * Ownership   Results are malloc'ed, the caller's.
 * Errors      NULL from base64_encode: out of memory. base64_decode: -EBADMSG with the offset of the first wrong byte,
 *             -ENOMEM.
 *
 * Encodes without padding. Decodes the URL and the standard alphabet, with or without padding, so that what other tools
 * print can be pasted.
 */
#ifndef KVRING_KVCTL_BASE64_H
#define KVRING_KVCTL_BASE64_H

#include <stddef.h>
#include <stdint.h>

char *base64_encode(const uint8_t *bytes, size_t size); /* ends with a 0 */
int base64_decode(const char *text, size_t text_size, uint8_t **bytes_out, size_t *size_out, size_t *error_offset_out)
	__attribute__((warn_unused_result));

#endif
