/* SPDX-License-Identifier: Apache-2.0 */
/*
 * idn.h - domain names beyond ASCII, as the names that DNS knows: A-labels in lower case. Pure; any thread.
 *
 * Names from the SMTP dialogue come in that spelling already; those in header fields come as they were written.
 */
#ifndef MODULES_LIB_IDN_H
#define MODULES_LIB_IDN_H

#include <tern/module.h>

#define IDN_NAME_OCTETS_MAX 253

bool idn_is_ascii(tern_str text);
/*
 * `out` may overlap `name`, and has a NUL behind it. An ASCII name is lowered and not looked at further. False: it
 * is no name, or too long.
 */
bool idn_to_ascii(tern_str name, char out[IDN_NAME_OCTETS_MAX + 1], tern_str *ret);

#endif
