/* SPDX-License-Identifier: Apache-2.0 */
/* authres_private.h - octets of RFC 8601, for the reading and the writing half. */
#ifndef MODULES_LIB_AUTHRES_PRIVATE_H
#define MODULES_LIB_AUTHRES_PRIVATE_H

#include <stdbool.h>
#include <string.h>

static inline char authres_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static inline bool authres_is_ldh(char c)
{
    char l = authres_lower(c);

    return (l >= 'a' && l <= 'z') || (c >= '0' && c <= '9') || c == '-';
}

static inline bool authres_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* RFC 2045 5.1. */
static inline bool authres_is_token(char c)
{
    return authres_is_ldh(c) || (c > ' ' && c < 0x7f && strchr("()<>@,;:\\\"/[]?=", c) == NULL);
}

/* RFC 5322 3.2.3. */
static inline bool authres_is_atext(char c)
{
    return authres_is_ldh(c) || (c != '\0' && strchr("!#$%&'*+/=?^_`{|}~", c) != NULL);
}

#endif
