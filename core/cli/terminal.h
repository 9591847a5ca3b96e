/* SPDX-License-Identifier: Apache-2.0 */
/* terminal.h - what others wrote (a client, a DNS server, a next hop), before it is shown to a person. */
#ifndef TERN_CLI_TERMINAL_H
#define TERN_CLI_TERMINAL_H

#include <jansson.h>
#include <stddef.h>

/*
 * JSON as json_loadb() has it, each text and key as it may be printed on one line: what would end the line or steer the
 * terminal is there as \x1b. In a member `header` the ends of lines stay. NULL: it is not JSON.
 */
json_t *terminal_json(const char *text, size_t octets);

#endif
