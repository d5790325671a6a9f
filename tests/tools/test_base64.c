/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/harness.h"
#include "tools/kvctl/base64.h"

static void expect_encoded(const char *bytes, const char *text)
{
	char *encoded = base64_encode((const uint8_t *)bytes, strlen(bytes));
	assert_string_equal(encoded, text);
	free(encoded);
}

/* The vectors of RFC 4648 section 10, without padding. */
static void test_encode_matches_the_rfc(void **state)
{
	(void)state;
	expect_encoded("", "");
	expect_encoded("f", "Zg");
	expect_encoded("fo", "Zm8");
	expect_encoded("foo", "Zm9v");
	expect_encoded("foob", "Zm9vYg");
	expect_encoded("fooba", "Zm9vYmE");
	expect_encoded("foobar", "Zm9vYmFy");
	expect_encoded("\xfb\xff\xfe", "-__-");
}

static void test_all_bytes_come_back(void **state)
{
	(void)state;
	uint8_t bytes[256], *decoded;
	size_t size, offset;
	for (unsigned i = 0; i < 256; i++)
		bytes[i] = (uint8_t)(255 - i);
	for (size_t count = 0; count <= 256; count++) {
		char *text = base64_encode(bytes, count);
		assert_int_equal(base64_decode(text, strlen(text), &decoded, &size, &offset), 0);
		assert_int_equal(size, count);
		assert_memory_equal(decoded, bytes, count);
		free(decoded);
		free(text);
	}
}

static void test_both_alphabets_and_padding_decode(void **state)
{
	(void)state;
	static const char *const TEXTS[] = {"-__-Zg", "+//+Zg==", "-__-Zg=="};
	for (unsigned i = 0; i < 3; i++) {
		uint8_t *decoded;
		size_t size, offset;
		assert_int_equal(base64_decode(TEXTS[i], strlen(TEXTS[i]), &decoded, &size, &offset), 0);
		assert_int_equal(size, 4);
		assert_memory_equal(decoded,
				    "\xfb\xff\xfe"
				    "f",
				    4);
		free(decoded);
	}
}

static void test_wrong_text_is_refused_with_its_place(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		size_t offset;
	} WRONG[] = {{"Zm9*", 3}, {"Zm 9", 2}, {"Z", 1}, {"Zm9vZ", 5}, {"Z===", 1}};
	for (unsigned i = 0; i < sizeof WRONG / sizeof *WRONG; i++) {
		uint8_t *decoded;
		size_t size, offset = 99;
		assert_int_equal(base64_decode(WRONG[i].text, strlen(WRONG[i].text), &decoded, &size, &offset),
				 -EBADMSG);
		assert_int_equal(offset, WRONG[i].offset);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_encode_matches_the_rfc),
		cmocka_unit_test(test_all_bytes_come_back),
		cmocka_unit_test(test_both_alphabets_and_padding_decode),
		cmocka_unit_test(test_wrong_text_is_refused_with_its_place),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
