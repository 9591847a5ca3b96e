/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h - SPF (RFC 7208) without a server: records, macros, and check_host() as a state machine.
 *
 * Pure: it asks no DNS. spf_start() and spf_answer() return true when they want to know something, which the
 * caller finds in check->name and check->type and answers by spf_answer(); false: check->result stands. Every run
 * of questions ends: each costs a term, of which there are ten, or is one of ten names of such a term.
 */
#ifndef MODULES_SPF_CHECK_H
#define MODULES_SPF_CHECK_H

#include <tern/module.h>

#include <string.h>

#include <lib/address.h>

#define SPF_NAME_OCTETS_MAX        ADDRESS_NAME_OCTETS_MAX
#define SPF_RECORD_OCTETS_MAX      8192 /* longer ones are permerror */
#define SPF_SPEC_OCTETS_MAX        512  /* of a domain-spec as published */
#define SPF_VALUE_OCTETS_MAX       512  /* of what a macro stands for; more is cut */
#define SPF_TERMS_MAX              10   /* that ask DNS: RFC 7208 4.6.4 */
#define SPF_VOIDS_MAX              2    /* terms whose answer is empty; the default */
#define SPF_MX_MAX                 10   /* names of an mx: more are permerror */
#define SPF_PTR_MAX                ADDRESS_CLIENT_NAMES_MAX   /* names of the client: more are not looked at */
#define SPF_FRAMES_MAX             (SPF_TERMS_MAX + 1)
#define SPF_EXPLAIN_OCTETS_MAX     2048 /* of an explanation as published; longer ones do not count */
#define SPF_EXPLANATION_OCTETS_MAX 250  /* as told; more is cut */

static inline tern_str spf_str(const char *ptr, size_t len)
{
    return (tern_str){ ptr, len };
}

static inline char spf_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + 32) : c;
}

static inline bool spf_equal_nocase(tern_str a, tern_str b)
{
    for (size_t i = 0; i < a.len && i < b.len; i++)
        if (spf_lower(a.ptr[i]) != spf_lower(b.ptr[i]))
            return false;
    return a.len == b.len;
}

enum spf_result {
    SPF_NONE,
    SPF_NEUTRAL,
    SPF_PASS,
    SPF_FAIL,
    SPF_SOFTFAIL,
    SPF_TEMPERROR,
    SPF_PERMERROR,
    SPF_RESULT_COUNT,
};
tern_str spf_result_name(enum spf_result result);

/* ---- names: name.c; addresses: lib/address.h ---- */

/* A domain that may have a policy: two labels at least, and no address in brackets (RFC 7208 4.3). */
bool spf_domain_is_valid(tern_str name);
/* `name` is `domain`, or below it. */
bool spf_name_is_within(tern_str name, tern_str domain);

/* ---- records: record.c ---- */

enum spf_kind {
    SPF_ALL,
    SPF_INCLUDE,
    SPF_A,
    SPF_MX,
    SPF_PTR,
    SPF_IP4,
    SPF_IP6,
    SPF_EXISTS,
    SPF_REDIRECT,
    SPF_EXP,
    SPF_UNKNOWN_MODIFIER,
};

struct spf_term {
    enum spf_kind kind;
    enum spf_result qualifier;
    tern_str text; /* the whole of it */
    tern_str spec; /* domain-spec, or empty */
    unsigned bits4, bits6;
    tern_address network; /* IP4, IP6 */
};

struct spf_record {
    tern_str terms; /* what is behind the version */
    tern_str redirect, exp;
};

bool spf_is_record(tern_str text);
/* Checks every term. NULL, or what is wrong with it. */
const char *spf_record_parse(tern_str text, struct spf_record *ret);
/* The next directive of a record that was parsed; moves *rest behind it. */
bool spf_directive_next(tern_str *rest, struct spf_term *ret);

/* ---- macros: macro.c ---- */

struct spf_macros {
    tern_str local, sender_domain; /* of the sender */
    tern_str domain;               /* whose record it is */
    tern_str helo, receiver;
    tern_str client_name;          /* %{p} */
    tern_address client;
    int64_t now_s;
};

/* Where an expansion goes. `tail`: when it is full the beginning is given up, else the end. */
struct spf_text {
    char *at;
    size_t room, len;
    bool tail;
};

bool spf_macro_is_valid(tern_str text, bool explanation);
bool spf_domain_spec_is_valid(tern_str text);
bool spf_macro_uses_name(tern_str text);  /* %{p} */
bool spf_macro_uses_local(tern_str text); /* %{s}, %{l} */
/* Any text. It may have a macro for more than client, domain and HELO name: %{s}, %{l}, %{r}, %{t}. */
bool spf_macro_is_personal(tern_str text);
/* `text` is valid. */
void spf_macro_expand(tern_str text, const struct spf_macros *m, struct spf_text *out);
/* As a name to ask for: without final dot, labels taken from the left until it fits. False: it is no name. */
bool spf_macro_expand_name(tern_str text, const struct spf_macros *m, char out[SPF_NAME_OCTETS_MAX + 1]);

/* ---- check_host(): evaluate.c, client_name.c ---- */

struct spf_input {
    tern_address client; /* IPv4 in IPv6 is taken for IPv4 */
    tern_str domain;     /* that is asked about */
    tern_str local, sender_domain;
    tern_str helo, receiver;
    int64_t now_s;
    unsigned voids_max;
    bool explain; /* look up exp= of a fail */
    void *(*alloc)(void *arg, size_t octets); /* zeroed; lives as long as the check */
    void *arg;
};

/* One record in evaluation: the domain's, and one for each include. */
struct spf_frame {
    char domain[SPF_NAME_OCTETS_MAX + 1];
    struct spf_record record;
    tern_str rest;        /* terms to come */
    struct spf_term term; /* in question */
    bool redirected;
    const char *client_name; /* %{p} for this domain, once it is known */
};

enum spf_asked {
    SPF_ASKED_RECORD,
    SPF_ASKED_ADDRESS,
    SPF_ASKED_EXISTS,
    SPF_ASKED_MX,
    SPF_ASKED_MX_ADDRESS,
    SPF_ASKED_PTR,
    SPF_ASKED_PTR_ADDRESS,
    SPF_ASKED_EXPLANATION,
};

/* What the name of the client is looked for. */
enum spf_purpose {
    SPF_FOR_PTR,
    SPF_FOR_TERM,
    SPF_FOR_REDIRECT,
    SPF_FOR_EXP_NAME,
    SPF_FOR_EXP_TEXT,
};

struct spf_check {
    struct spf_input in;
    char name[SPF_NAME_OCTETS_MAX + 1]; /* the question */
    unsigned type;
    enum spf_result result; /* the answer */
    const char *reason;     /* of an error, or NULL */
    char where[SPF_NAME_OCTETS_MAX + 1]; /* the domain that it is about */
    tern_str mechanism;     /* that decided; empty: none matched */
    char explanation[SPF_EXPLANATION_OCTETS_MAX + 1]; /* empty: none */

    /* -- inside -- */
    struct spf_frame frames[SPF_FRAMES_MAX];
    unsigned depth, terms, voids;
    enum spf_asked asked;
    enum spf_purpose purpose;
    char target[SPF_NAME_OCTETS_MAX + 1];
    char mx[SPF_MX_MAX][SPF_NAME_OCTETS_MAX + 1];
    unsigned mx_count, mx_next;
    bool ptr_known;
    char ptr[SPF_PTR_MAX][SPF_NAME_OCTETS_MAX + 1];
    enum { SPF_PTR_UNKNOWN, SPF_PTR_GOOD, SPF_PTR_BAD } ptr_state[SPF_PTR_MAX];
    unsigned ptr_count, ptr_at;
    tern_str explain;
};

/* `check` is zeroed memory. The texts of `in` live as long as it. */
bool spf_start(struct spf_check *check, const struct spf_input *in);
bool spf_answer(struct spf_check *check, const struct tern_dns_answer *answer);

#endif
