/* SPDX-License-Identifier: Apache-2.0 */
#include "rpc/address.h"

#include <stdarg.h>
#include <stdio.h>

int rpc_error_set(struct rpc_error *error_out, int status, const char *format, ...)
{
	if (error_out == NULL)
		return status;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(error_out->text, sizeof error_out->text, format, arguments);
	va_end(arguments);
	return status;
}
