/* SPDX-License-Identifier: Apache-2.0 */
/* Setting: one option of kvnode: its row in the table, and its value as text.
 *
 * The table is the only place that knows the options. Flags and help (config.c), the file (config_file.c) and
 * --print-config walk it.
 *
 * Threading   pure, on the caller's struct.
 * Ownership   nothing is kept.
 * Errors      setting_parse returns false and says what would be right.
 * Invariants  S1 what setting_print writes, setting_parse takes back.
 */
#ifndef KVRING_NODE_SETTING_H
#define KVRING_NODE_SETTING_H

#include "node/kvnode/config.h"

#include <stddef.h>

enum { SETTING_COUNT = 30 };

enum setting_type {
	SETTING_NAME,
	SETTING_OPTIONAL_NAME,
	SETTING_PATH,
	SETTING_ADDRESS,
	SETTING_HOST,
	SETTING_SEED,
	SETTING_NUMBER,
	SETTING_AUTO,
	SETTING_CHOICE, /* of the words of the placeholder: the number of one, from 0 */
	SETTING_LEVEL,
	SETTING_REPLICAS /* a level of coordinator/level.h */
};

struct setting {
	const char *section;
	const char *name; /* of the flag and of the key */
	enum setting_type type;
	size_t offset;           /* in struct node_config */
	const char *initial;     /* NULL: required. "": derived, or empty. */
	uint32_t least, most;    /* numbers */
	const char *placeholder; /* of the value, in help */
	const char *help;
};

extern const struct setting settings[SETTING_COUNT];

/* Follows the setting's name and value in a message. */
struct setting_reason {
	char text[200];
};

/* Sets the field, or adds a seed. */
bool setting_parse(struct node_config *, const struct setting *, const char *text, struct setting_reason *reason_out);
/* The value alone; not for seeds. */
void setting_print(const struct node_config *, const struct setting *, FILE *);
/* What was meant by this name: the setting that is most like it, or NULL. */
const struct setting *setting_similar(const char *name);
/* The same for a section; NULL when none is like it. */
const char *setting_similar_section(const char *name);

/* Of a valid address: its port, and the size of its host. */
uint32_t address_port(const char *address);
size_t address_host_size(const char *address);

#endif
