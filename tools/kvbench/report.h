/* SPDX-License-Identifier: Apache-2.0 */
/* Report: results as lines for people, or as JSON.
 *
 * Threading   One thread.
 * Ownership   JSON objects are new references, the caller's.
 */
#ifndef KVRING_KVBENCH_REPORT_H
#define KVRING_KVBENCH_REPORT_H

#include <jansson.h>
#include "tools/kvbench/echo.h"
#include "tools/kvbench/phase.h"

void report_phase_text(const char *title, const struct phase_options *, const struct phase_result *);
json_t *report_phase_json(const char *title, const struct phase_options *, const struct phase_result *);
void report_echo_text(const struct echo_options *, const struct echo_result *);
json_t *report_echo_json(const struct echo_options *, const struct echo_result *);
/* Prints the document and a newline on stdout; takes the reference. */
void report_print(json_t *);

double report_rate(uint64_t count, double seconds);

#endif
