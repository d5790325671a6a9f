/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/tools/harness.h"
#include "tools/kvctl/suggest.h"

static const char *const WORDS[] = {"put",     "get",          "del",    "import", "export",
				    "compare", "cluster init", "status", "ring",   NULL};

static void test_close_words_are_found(void **state)
{
	(void)state;
	assert_string_equal(suggest_word("staus", WORDS), "status");
	assert_string_equal(suggest_word("sattus", WORDS), "status");
	assert_string_equal(suggest_word("improt", WORDS), "import");
	assert_string_equal(suggest_word("cluster-init", WORDS), "cluster init");
	assert_string_equal(suggest_word("gte", WORDS), "get");
	assert_string_equal(suggest_word("puts", WORDS), "put");
}

static void test_far_words_are_not(void **state)
{
	(void)state;
	assert_null(suggest_word("frobnicate", WORDS));
	assert_null(suggest_word("", WORDS));
	assert_null(suggest_word("x", WORDS));
	assert_null(suggest_word("a word that is longer than any command could be", WORDS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_close_words_are_found),
		cmocka_unit_test(test_far_words_are_not),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
