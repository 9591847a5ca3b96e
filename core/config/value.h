/* SPDX-License-Identifier: Apache-2.0 */
/* value.h - one word of YAML as a typed value: pure functions, text in, value or false out. */
#ifndef TERN_CONFIG_VALUE_H
#define TERN_CONFIG_VALUE_H

#include <tern/module.h>

#include "config/yaml.h"

#define VALUE_DURATION_MS_MAX (UINT64_C(36500) * 86400 * 1000) /* a hundred years */
#define VALUE_SIZE_MAX        ((uint64_t)INT64_MAX)

bool value_bool(struct slice text, bool *ret); /* true false yes no on off */
bool value_int(struct slice text, int64_t *ret);
bool value_rate(struct slice text, struct tern_rate *ret); /* 100/1m, 5/s */
bool value_percent(struct slice text, uint64_t *ret); /* 20%, 20; any size: the caller checks */
/* An IPv4 or IPv6 address without port. ::ffff:a.b.c.d becomes IPv4. */
bool value_host(struct slice text, tern_address *ret);
/* The same, or with a port: 192.0.2.1:25, [2001:db8::1]:25. */
bool value_address(struct slice text, tern_address *ret);

/*
 * What a message may show of a node: "5 minutes" in quotes, shortened; (secret); a list;
 * nothing.
 */
#define VALUE_SHOWN_OCTETS 80
const char *value_show(const struct yaml_node *node, char shown[VALUE_SHOWN_OCTETS]);
/* As the user would write it: 90s, 5m, 64KB. */
void value_print_ms(struct buf *out, uint64_t ms);
void value_print_size(struct buf *out, uint64_t octets);

#endif
