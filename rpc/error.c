/* The only place where NNG's codes meet errno. */
#include "internal.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

int error_from_nng(int code)
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

int error_set(struct rpc_error *error_out, int status, const char *format, ...)
{
	if (error_out == NULL)
		return status;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(error_out->text, sizeof(error_out->text), format, arguments);
	va_end(arguments);
	return status;
}
