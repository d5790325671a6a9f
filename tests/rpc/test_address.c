/* SPDX-License-Identifier: Apache-2.0 */
/* What counts as HOST:PORT, and what a person reads when it does not. Also: NNG's codes become errno. */
#include "tests/rpc/harness.h"
#include "rpc/internal.h"

static void test_good_addresses_become_urls(void **state)
{
	(void)state;
	static const char *cases[][2] = {
		{"127.0.0.1:7000", "tcp://127.0.0.1:7000"},
		{"0.0.0.0:1", "tcp://0.0.0.0:1"},
		{"db-1.example.org:65535", "tcp://db-1.example.org:65535"},
		{"node_1:7000", "tcp://node_1:7000"},
		{"1e100.net:80", "tcp://1e100.net:80"},
		{"[::1]:7000", "tcp://[::1]:7000"},
		{"[2001:db8::42]:7000", "tcp://[2001:db8::42]:7000"},
	};
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		char url[RPC_URL_MAX];
		struct rpc_error error = {""};
		assert_int_equal(rpc_address_to_url(cases[i][0], false, url, &error), 0);
		assert_string_equal(url, cases[i][1]);
	}
}

static void test_bad_addresses_are_explained(void **state)
{
	(void)state;
	static const char *cases[][2] = {
		{"", "is empty"},
		{"localhost", "has no port"},
		{":7000", "is no host"},
		{"a b:7000", "is no host"},
		{"tcp://a:7000", "is no host"},
		{"::1:7000", "is no host"},
		{"[::1:7000", "is no host"},
		{"[127.0.0.1]:7000", "is no host"},
		{"[]:7000", "is no host"},
		{"10.0.0:7000", "is no IPv4 address"},
		{"256.0.0.1:7000", "is no IPv4 address"},
		{"a:", "from 1 to 65535"},
		{"a:0", "from 1 to 65535"},
		{"a:65536", "from 1 to 65535"},
		{"a:-1", "from 1 to 65535"},
		{"a:70x", "from 1 to 65535"},
		{"a:000000001", "from 1 to 65535"},
	};
	char url[RPC_URL_MAX];
	struct rpc_error error;
	for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
		error.text[0] = '\0';
		assert_int_equal(rpc_address_to_url(cases[i][0], false, url, &error), -EINVAL);
		assert_contains(error.text, cases[i][1]);
		assert_contains(error.text, cases[i][0]);
	}
	char longest[600];
	memset(longest, 'a', sizeof longest);
	strcpy(longest + 300, ":7000");
	assert_int_equal(rpc_address_to_url(longest, false, url, &error), -EINVAL);
	assert_int_equal(rpc_address_to_url(NULL, false, url, &error), -EINVAL);
	assert_int_equal(rpc_address_to_url("a:", true, url, NULL), -EINVAL); /* text not wanted */
}

static void test_port_zero_is_for_listeners(void **state)
{
	(void)state;
	char url[RPC_URL_MAX];
	assert_int_equal(rpc_address_to_url("127.0.0.1:0", true, url, NULL), 0);
	assert_string_equal(url, "tcp://127.0.0.1:0");
	assert_int_equal(rpc_address_to_url("127.0.0.1:0", false, url, NULL), -EINVAL);
}

static void test_codes_of_nng_are_errno(void **state)
{
	(void)state;
	assert_int_equal(rpc_error_from_nng(0), 0);
	assert_int_equal(rpc_error_from_nng(NNG_ETIMEDOUT), -ETIMEDOUT);
	assert_int_equal(rpc_error_from_nng(NNG_ECONNRESET), -ECONNRESET);
	assert_int_equal(rpc_error_from_nng(NNG_ECLOSED), -ECANCELED);
	assert_int_equal(rpc_error_from_nng(NNG_EADDRINUSE), -EADDRINUSE);
	assert_int_equal(rpc_error_from_nng((int)NNG_ESYSERR | ENOTUNIQ), -ENOTUNIQ);
	for (int code = 1; code < 2000; code++)
		assert_true(rpc_error_from_nng(code) < 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good_addresses_become_urls),
		cmocka_unit_test(test_bad_addresses_are_explained),
		cmocka_unit_test(test_port_zero_is_for_listeners),
		cmocka_unit_test(test_codes_of_nng_are_errno),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
