/* SPDX-License-Identifier: Apache-2.0 */
/*
 * check.h - DMARC without a mail server: records, the tree walk, alignment. Pure.
 *
 * dmarc_start() and dmarc_answer() say what to ask DNS next, in `name` and `type`, until there is a result; whoever
 * calls them asks. A tern_str is borrowed here and has no NUL behind it unless said. All domains are A-labels
 * in lower case.
 *
 * Sources: RFC 9989 (4.7 records, 4.10 discovery and alignment); RFC 7489 for those who want it (compat).
 */
#ifndef MODULES_DMARC_CHECK_H
#define MODULES_DMARC_CHECK_H

#include <tern/module.h>

#include <string.h>

#define DMARC_RECORD_OCTETS_MAX  8192
#define DMARC_TAGS_MAX           64
#define DMARC_NAME_OCTETS_MAX    253
#define DMARC_WALK_QUERIES_MAX   8  /* RFC 9989 4.10 */
#define DMARC_WALK_LABELS        7  /* what a longer name is cut to behind the first question */
#define DMARC_IDENTIFIERS_MAX    9  /* of SPF, and of eight signatures */
#define DMARC_QUESTIONS_MAX      40 /* of one message: an identifier that would need more is not aligned */

static inline tern_str dmarc_str(const char *ptr, size_t len)
{
    return (tern_str){ ptr, len };
}
bool dmarc_equal_nocase(tern_str a, tern_str b);

/* ---- records: record.c ---- */

enum dmarc_policy { DMARC_UNSET, DMARC_NONE, DMARC_QUARANTINE, DMARC_REJECT };
const char *dmarc_policy_name(enum dmarc_policy policy);

struct dmarc_record {
    enum dmarc_policy p, sp, np; /* UNSET: not there */
    bool dkim_strict, spf_strict, testing;
    char psd;            /* 'y', 'n', 'u' */
    unsigned pct;        /* RFC 7489 only */
    tern_str rua, ruf, fo; /* as written */
    const char *wrong;   /* why it says no policy, or NULL */
};
/* Whether it begins with v=DMARC1; else it is somebody else's text. */
bool dmarc_is_record(tern_str text);
/* What is malformed in a record counts as not there (4.8); p, sp and np as 4.10.1 has it. */
void dmarc_record_parse(tern_str text, struct dmarc_record *ret);
/* The next URI of rua= or ruf=, without a size behind it (`!10m`), which is obsolete; false at the end. Malformed
 * ones are passed over. */
bool dmarc_uri_next(tern_str *rest, tern_str *ret);

/* ---- names: name.c ---- */

unsigned dmarc_labels(tern_str name);
/* The last `labels` labels of it; all of it, if it has no more. */
tern_str dmarc_suffix(tern_str name, unsigned labels);
/* `name` is `domain`, or below it. */
bool dmarc_name_is_within(tern_str name, tern_str domain);
/* What a walk that began at `domain` asks for behind `target`; empty at the end. */
tern_str dmarc_walk_next(tern_str domain, tern_str target);

/* ---- evaluation: evaluate.c, align.c ---- */

enum dmarc_result {
    DMARC_RESULT_NONE,
    DMARC_RESULT_PASS,
    DMARC_RESULT_FAIL,
    DMARC_RESULT_TEMPERROR,
    DMARC_RESULT_PERMERROR,
    DMARC_RESULT_COUNT,
};
tern_str dmarc_result_name(enum dmarc_result result);

/* A domain that SPF or DKIM vouches for, or would if DNS had answered. */
struct dmarc_identifier {
    tern_str domain;
    bool is_dkim;
    bool unknown; /* it is not known whether it passes */
    bool aligned; /* the answer */
    tern_str org; /* its organizational domain, if that had to be found out */
};

struct dmarc_input {
    tern_str author; /* the domain of From */
    struct dmarc_identifier identifiers[DMARC_IDENTIFIERS_MAX];
    unsigned identifier_count;
    /* RFC 7489: the organizational domain by a list of suffixes, as an end of `domain`; NULL: RFC 9989. */
    tern_str (*registrable)(void *arg, tern_str domain);
    void *(*alloc)(void *arg, size_t octets); /* zeroed; lives as long as the check */
    void *arg;
};

/* What DNS has said to one question. */
struct dmarc_seen {
    tern_str domain; /* that it was about: without _dmarc. */
    unsigned type;
    bool failed, absent_name; /* absent_name: NXDOMAIN */
    unsigned records;         /* of DMARC; only of a single one: */
    tern_str text;
    struct dmarc_record record;
};

struct dmarc_walk {
    tern_str domain, target;
    tern_str found;               /* the last name with a record */
    tern_str org;                 /* the answer */
    const struct dmarc_seen *psd; /* the record of a public suffix above */
};

enum dmarc_phase { DMARC_PHASE_AUTHOR, DMARC_PHASE_WALK, DMARC_PHASE_ALIGN, DMARC_PHASE_EXISTENCE, DMARC_PHASE_END };

struct dmarc_check {
    struct dmarc_input in;
    char name[DMARC_NAME_OCTETS_MAX + sizeof("_dmarc.")]; /* the question */
    unsigned type;
    enum dmarc_result result; /* the answer */
    const char *reason;       /* of what is no pass or fail */
    tern_str where;           /* the domain that the reason is about */
    const struct dmarc_seen *policy_seen; /* whose record counts; NULL: there is none */
    tern_str org;                         /* of the author; empty: it was not needed */
    enum dmarc_policy policy;             /* that the record has for this author */
    enum dmarc_policy asked;              /* what is asked for: one less in test mode */
    const char *policy_tag;               /* "p", "sp", "np" */
    bool spf_aligned, dkim_aligned;

    /* -- inside -- */
    enum dmarc_phase phase;
    struct dmarc_walk walk;
    unsigned at; /* the identifier in question */
    bool walking;
    struct dmarc_seen *seen[DMARC_QUESTIONS_MAX], *pending;
    unsigned seen_count;
};

/* `check` is zeroed memory; the texts of `in` live as long as it. True: there is a question. */
bool dmarc_start(struct dmarc_check *check, const struct dmarc_input *in);
bool dmarc_answer(struct dmarc_check *check, const struct tern_dns_answer *answer);
/* There will be no more answers. */
void dmarc_give_up(struct dmarc_check *check, const char *reason);

/* -- between evaluate.c and align.c -- */

enum dmarc_look { DMARC_LOOK_ASK, DMARC_LOOK_SEEN, DMARC_LOOK_TOO_MANY };
/* What is known of that question; else it becomes the next one. */
enum dmarc_look dmarc_look(struct dmarc_check *check, tern_str domain, unsigned type, const struct dmarc_seen **ret);
enum dmarc_step { DMARC_STEP_ASK, DMARC_STEP_DONE, DMARC_STEP_FAILED, DMARC_STEP_TOO_MANY };
void dmarc_walk_begin(struct dmarc_walk *walk, tern_str domain);
enum dmarc_step dmarc_walk_on(struct dmarc_check *check, struct dmarc_walk *walk);
/* Whether the author's organizational domain matters to an identifier. */
bool dmarc_needs_org(const struct dmarc_check *check);
/* ASK, or DONE. */
enum dmarc_step dmarc_align(struct dmarc_check *check);

#endif
