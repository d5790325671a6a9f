/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/kvctl/base64.h"

#include <errno.h>
#include <stdlib.h>

static const char ALPHABET[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

char *base64_encode(const uint8_t *bytes, size_t size)
{
	char *text = malloc((size + 2) / 3 * 4 + 1), *at = text;
	if (text == NULL)
		return NULL;
	uint32_t bits = 0;
	unsigned bit_count = 0;
	for (size_t i = 0; i < size; i++) {
		bits = bits << 8 | bytes[i];
		for (bit_count += 8; bit_count >= 6; bit_count -= 6)
			*at++ = ALPHABET[bits >> (bit_count - 6) & 63];
	}
	if (bit_count)
		*at++ = ALPHABET[bits << (6 - bit_count) & 63];
	*at = 0;
	return text;
}

static int digit_of(char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '-' || c == '+')
		return 62;
	if (c == '_' || c == '/')
		return 63;
	return -1;
}

int base64_decode(const char *text, size_t text_size, uint8_t **bytes_out, size_t *size_out, size_t *error_offset_out)
{
	for (unsigned padding = 0; padding < 2 && text_size && text[text_size - 1] == '='; padding++)
		text_size--;
	*error_offset_out = text_size;
	if (text_size % 4 == 1) /* six bits are no byte */
		return -EBADMSG;
	uint8_t *bytes = malloc(text_size / 4 * 3 + 3), *at = bytes;
	if (bytes == NULL)
		return -ENOMEM;
	uint32_t bits = 0;
	unsigned bit_count = 0;
	for (size_t i = 0; i < text_size; i++) {
		int digit = digit_of(text[i]);
		if (digit < 0) {
			*error_offset_out = i;
			free(bytes);
			return -EBADMSG;
		}
		bits = bits << 6 | (uint32_t)digit;
		bit_count += 6;
		if (bit_count >= 8) {
			bit_count -= 8;
			*at++ = (uint8_t)(bits >> bit_count);
		}
	}
	*bytes_out = bytes;
	*size_out = (size_t)(at - bytes);
	return 0;
}
