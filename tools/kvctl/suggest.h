/* SPDX-License-Identifier: Apache-2.0 */
/* Suggest: "did you mean" for a mistyped word.
 *
 * Threading   Pure function.
 * Ownership   Returns one of `words`.
 */
#ifndef KVRING_KVCTL_SUGGEST_H
#define KVRING_KVCTL_SUGGEST_H

/* The closest of the NULL-terminated words; NULL when more than a third of it would have to change. */
const char *suggest_word(const char *typed, const char *const *words);

#endif
