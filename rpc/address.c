/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

enum { HOST_MAX = 255 }; /* bytes; RFC 1035 */

/* A name or an IPv4 address: letters, digits, dots, hyphens, underscores (which some local resolvers allow). */
static bool host_is_name(const char *host, size_t size)
{
	if (size == 0 || size > HOST_MAX)
		return false;
	for (size_t i = 0; i < size; i++) {
		char c = host[i];
		bool fine = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
			    c == '-' || c == '_';
		if (!fine)
			return false;
	}
	return true;
}

/* All digits and dots must be a complete IPv4 address: "10.0.0" would otherwise be looked up, and found. */
static bool host_is_broken_ipv4(const char *host, size_t size)
{
	char text[HOST_MAX + 1];
	if (strspn(host, "0123456789.") < size)
		return false;
	memcpy(text, host, size);
	text[size] = '\0';
	struct in_addr address;
	return inet_pton(AF_INET, text, &address) != 1;
}

static bool host_is_ipv6(const char *host, size_t size)
{
	char text[INET6_ADDRSTRLEN + 1];
	if (size < 2 || size > INET6_ADDRSTRLEN || host[0] != '[' || host[size - 1] != ']')
		return false;
	memcpy(text, host + 1, size - 2);
	text[size - 2] = '\0';
	struct in6_addr address;
	return inet_pton(AF_INET6, text, &address) == 1;
}

static int parse_port(const char *text, bool listening)
{
	unsigned port = 0;
	size_t length = strlen(text);
	if (length == 0 || length > 5 || strspn(text, "0123456789") != length)
		return -EINVAL;
	for (size_t i = 0; i < length; i++)
		port = port * 10 + (unsigned)(text[i] - '0');
	if (port > UINT16_MAX || (port == 0 && !listening))
		return -EINVAL;
	return (int)port;
}

int rpc_address_to_url(const char *address, bool listening, char url_out[RPC_URL_MAX], struct rpc_error *error_out)
{
	const char *wanted = "write HOST:PORT, for example 127.0.0.1:7000, db1.example.org:7000 or [::1]:7000";
	if (address == NULL || address[0] == '\0')
		return rpc_error_set(error_out, -EINVAL, "the address is empty; %s", wanted);
	const char *colon = strrchr(address, ':');
	if (colon == NULL)
		return rpc_error_set(error_out, -EINVAL, "address \"%.80s\" has no port; %s", address, wanted);
	size_t host_size = (size_t)(colon - address);
	bool bracketed = address[0] == '[';
	if (bracketed ? !host_is_ipv6(address, host_size) : !host_is_name(address, host_size))
		return rpc_error_set(error_out, -EINVAL, "address \"%.80s\": \"%.*s\" is no host; %s", address,
				     (int)(host_size < 64 ? host_size : 64), address, wanted);
	if (!bracketed && host_is_broken_ipv4(address, host_size))
		return rpc_error_set(error_out, -EINVAL, "address \"%.80s\": \"%.*s\" is no IPv4 address", address,
				     (int)(host_size < 64 ? host_size : 64), address);
	int port = parse_port(colon + 1, listening);
	if (port < 0)
		return rpc_error_set(error_out, -EINVAL,
				     "address \"%.80s\": the port must be a number from %d to 65535", address,
				     listening ? 0 : 1);
	snprintf(url_out, RPC_URL_MAX, "tcp://%.*s:%d", (int)host_size, address, port);
	return 0;
}

bool rpc_address_has_name(const char *address)
{
	size_t host_size = (size_t)(strrchr(address, ':') - address);
	return address[0] != '[' && strspn(address, "0123456789.") < host_size;
}

int rpc_address_check(const char *address, struct rpc_error *error_out)
{
	char url[RPC_URL_MAX];
	return rpc_address_to_url(address, false, url, error_out);
}
