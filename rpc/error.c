/* SPDX-License-Identifier: Apache-2.0 */
/* The only place where NNG's codes meet errno. */
#include "rpc/internal.h"

#include <errno.h>

int rpc_error_from_nng(int code)
{
	switch (code) {
	case 0:
		return 0;
	case NNG_ENOMEM:
		return -ENOMEM;
	case NNG_ETIMEDOUT:
		return -ETIMEDOUT;
	case NNG_ECONNREFUSED:
	case NNG_EUNREACHABLE:
		return -EHOSTUNREACH;
	case NNG_ECLOSED:
	case NNG_ECANCELED:
		return -ECANCELED;
	case NNG_EADDRINUSE:
		return -EADDRINUSE;
	case NNG_EADDRINVAL:
		return -EADDRNOTAVAIL;
	case NNG_EPERM:
	case NNG_EPEERAUTH:
		return -EACCES;
	case NNG_EMSGSIZE:
		return -EMSGSIZE;
	case NNG_ECONNABORTED:
	case NNG_ECONNRESET:
	case NNG_ECONNSHUT:
	case NNG_ESTATE: /* the context lost its request together with the connection */
		return -ECONNRESET;
	case NNG_ENOFILES:
		return -EMFILE;
	case NNG_EAGAIN:
	case NNG_EBUSY:
		return -EAGAIN;
	case NNG_EPROTO:
		return -EPROTO;
	case NNG_EINVAL:
		return -EINVAL;
	default:
		break;
	}
	/* NNG passes unknown system errors through with a flag. */
	if ((code & NNG_ESYSERR) != 0 && (code & ~NNG_ESYSERR) != 0)
		return -(code & ~NNG_ESYSERR);
	return -EIO;
}

int rpc_address_listen_failed(int code, const char *address, struct rpc_error *error_out)
{
	switch (code) {
	case NNG_EADDRINUSE:
		return rpc_error_set(error_out, -EADDRINUSE,
				     "cannot listen on %s: the address is in use by another process; stop it or choose "
				     "another port",
				     address);
	case NNG_EADDRINVAL:
		return rpc_error_set(
			error_out, -EADDRNOTAVAIL,
			"cannot listen on %s: the host is not an address of this machine, or its name does "
			"not resolve",
			address);
	case NNG_EPERM:
		return rpc_error_set(error_out, -EACCES,
				     "cannot listen on %s: permission denied; ports below 1024 need a privilege",
				     address);
	default:
		return rpc_error_set(error_out, rpc_error_from_nng(code), "cannot listen on %s: %s", address,
				     nng_strerror(code));
	}
}
