/* SPDX-License-Identifier: Apache-2.0 */
/* params.h - the ESMTP parameters behind the path of MAIL and RCPT (RFC 5321 4.1.2). Pure. */
#ifndef TERN_SMTP_PARAMS_H
#define TERN_SMTP_PARAMS_H

#include "base/slice.h"
#include "state/facts.h"

enum smtp_params { SMTP_PARAMS_ONE, SMTP_PARAMS_END, SMTP_PARAMS_BAD };

struct smtp_param {
    struct slice keyword;
    struct slice value;
    bool has_value; /* "KEY=" has one, and is BAD as it is empty */
};

/* Cuts the next parameter off *rest, which begins with a blank unless it is empty. */
enum smtp_params smtp_params_next(struct slice *rest, struct smtp_param *ret);

/* The extensions that a parameter may belong to; one that was withheld is not recognised. */
#define SMTP_EXT_PIPELINING (1u << 0)
#define SMTP_EXT_SIZE       (1u << 1)
#define SMTP_EXT_8BITMIME   (1u << 2)
#define SMTP_EXT_SMTPUTF8   (1u << 3)
#define SMTP_EXT_ENHANCED   (1u << 4)
#define SMTP_EXT_PRDR       (1u << 5)
#define SMTP_EXT_CHUNKING   (1u << 6)
#define SMTP_EXT_BINARYMIME (1u << 7)
#define SMTP_EXT_LIMITS     (1u << 8)
#define SMTP_EXT_AUTH       (1u << 9)
#define SMTP_EXT_DSN        (1u << 10)
#define SMTP_EXT_ETRN       (1u << 11)
#define SMTP_EXT_XCLIENT    (1u << 20)
#define SMTP_EXT_XFORWARD   (1u << 21)
#define SMTP_EXT_STARTTLS   (1u << 16)
#define SMTP_EXT_EXPN       (1u << 23) /* the same: RFC 5321 3.5.2 */
#define SMTP_EXT_HELP       (1u << 22) /* no extension, but EHLO names it: RFC 5321 4.1.1.1 */

enum smtp_param_fault {
    SMTP_PARAM_OK,
    SMTP_PARAM_SYNTAX,  /* 501 5.5.4 */
    SMTP_PARAM_UNKNOWN, /* 555 5.5.4 */
};

struct smtp_mail_options {
    uint64_t size; /* 0: not said; UINT64_MAX also stands for anything above it */
    enum body_type body;
    bool smtputf8;
    bool prdr;
    struct slice envid; /* xtext as it came, or empty (RFC 3461 4.4) */
    struct slice ret;   /* "FULL", "HDRS" or empty (4.3) */
};

struct smtp_rcpt_options {
    struct slice notify; /* "NEVER", or of SUCCESS,FAILURE,DELAY those that were asked for, or empty (4.1) */
    struct slice orcpt;  /* "type;xtext" as it came, or empty (4.2) */
};

#define SMTP_ENVID_OCTETS_MAX 100 /* RFC 3461 4.4 */
#define SMTP_ORCPT_OCTETS_MAX 500 /* 4.2 */

/* All parameters of MAIL. `extensions`: those on offer. *ret is as it was on a fault. */
enum smtp_param_fault smtp_params_mail(struct slice rest, unsigned extensions,
                                       struct smtp_mail_options *ret);
/* The same of RCPT. What *ret holds are pieces of `rest`, or constants. */
enum smtp_param_fault smtp_params_rcpt(struct slice rest, unsigned extensions,
                                       struct smtp_rcpt_options *ret);

#endif
