/* SPDX-License-Identifier: Apache-2.0 */
/*
 * address.h - addresses of clients and names that DNS is asked for about them. Pure.
 */
#ifndef MODULES_LIB_ADDRESS_H
#define MODULES_LIB_ADDRESS_H

#include <tern/module.h>

#define ADDRESS_NAME_OCTETS_MAX    253
#define ADDRESS_LABEL_OCTETS_MAX   63
#define ADDRESS_DOTTED_OCTETS      72 /* with its NUL */
#define ADDRESS_TEXT_OCTETS        48
#define ADDRESS_REVERSE_OCTETS     (ADDRESS_DOTTED_OCTETS + 16)
#define ADDRESS_CLIENT_NAMES_MAX   10 /* PTR names that are looked at: RFC 7208 4.6.4, RFC 8601 3 */

/* Labels of 1 to 63 printable octets, 253 in all: what DNS can be asked for. */
bool address_name_is_valid(tern_str name);
bool address_parse(tern_str text, unsigned family, tern_address *ret);
bool address_within(const tern_address *address, const tern_address *network, unsigned bits);
/* Whether one of the answer's addresses is that one. */
bool address_is_among(const tern_address *address, const struct tern_dns_answer *answer);
/* Nibbles or octets with dots; from the last on if `reversed`. */
size_t address_dotted(const tern_address *address, bool reversed, char out[ADDRESS_DOTTED_OCTETS]);
size_t address_text(const tern_address *address, char out[ADDRESS_TEXT_OCTETS]);
/* The name whose PTR records are those of the address. */
void address_reverse_name(const tern_address *address, char out[ADDRESS_REVERSE_OCTETS]);
/* A, or AAAA. */
unsigned address_record_type(const tern_address *address);

#endif
