/* SPDX-License-Identifier: Apache-2.0 */
/*
 * evaluate.h - what evaluate.c and client_name.c have in common.
 */
#ifndef MODULES_SPF_EVALUATE_H
#define MODULES_SPF_EVALUATE_H

#include "check.h"

enum outcome {
    ASKED,   /* a question stands */
    MATCHED, /* the directive in question */
    GO_ON,   /* with the next directive */
    ENDED,   /* the result stands */
};

enum outcome spf_end(struct spf_check *c, enum spf_result result, const char *reason);
enum outcome spf_ask(struct spf_check *c, enum spf_asked asked, const char *name, unsigned type);
unsigned spf_address_type(const struct spf_check *c);
/* False: past the limit of RFC 7208 4.6.4. */
bool spf_count_term(struct spf_check *c);
bool spf_count_void(struct spf_check *c, const struct tern_dns_answer *a);

/* Looks for a name of the client that it proves to have; the domain in question goes first. */
enum outcome spf_find_client_name(struct spf_check *c, enum spf_purpose purpose);
enum outcome spf_on_ptr(struct spf_check *c, const struct tern_dns_answer *a);
enum outcome spf_on_ptr_address(struct spf_check *c, const struct tern_dns_answer *a);
/* The end of that: NULL if there is none. */
enum outcome spf_client_name_found(struct spf_check *c, const char *name);

#endif
