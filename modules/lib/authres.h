/* SPDX-License-Identifier: Apache-2.0 */
/*
 * authres.h - the field Authentication-Results (RFC 8601): its texts, and reading one that somebody else wrote.
 *
 * Every step that verifies sets results.NAME to the word and results.NAME_detail to what stands in the field: one
 * or more times "method=result (comment) ptype.property=value ...", `; ` between them. Those that print results
 * (auth_results, arc_seal) put such texts together and know no method. What a text says that comes from outside goes
 * through authres_comment(), authres_property() or authres_mailbox(): it can be a value there and nothing else.
 *
 * Pure but for authres_gather(). A tern_str that is taken needs no NUL behind it.
 */
#ifndef MODULES_LIB_AUTHRES_H
#define MODULES_LIB_AUTHRES_H

#include <tern/module.h>

#define AUTHRES_FIELD_OCTETS_MAX   16384 /* of a field that we write; results that do not fit are left out */
#define AUTHRES_LINE_OCTETS        78    /* where it can be */
#define AUTHRES_WORD_OCTETS_MAX    900   /* what cannot be folded; a line has 998 */
#define AUTHRES_VALUE_OCTETS_MAX   320   /* of a value in a text */
#define AUTHRES_COMMENT_OCTETS_MAX 400   /* of a comment in a text; more is cut */
#define AUTHRES_COMMENTS_DEEP_MAX  20
#define AUTHRES_PROPERTIES_MAX     32 /* of one result that is read */
#define AUTHRES_RESULTS_MAX        100 /* of one field that is read or written */
#define AUTHRES_METHODS_MAX        16

/* ---- writing a text ---- */

/* Where it goes: zero `len` first. There is always a NUL behind what is there. */
struct authres_text {
    char *at;
    size_t room, len;
};

/* All or nothing: false if there is no room, or (property, mailbox) it cannot be told as it is. */
bool authres_result(struct authres_text *t, const char *method, const char *result); /* with "; " in front if need be */
/* Nothing for an empty one. What has a meaning in a comment is replaced. */
bool authres_comment(struct authres_text *t, tern_str text);
bool authres_reason(struct authres_text *t, tern_str text);
/* `name`: "smtp.auth". The value as a token, or quoted; `utf8`: it may be more than ASCII. */
bool authres_property(struct authres_text *t, const char *name, tern_str value, bool utf8);
/* `local` unquoted, may be empty: "@domain". */
bool authres_mailbox(struct authres_text *t, const char *name, tern_str local, tern_str domain, bool utf8);

/* ---- the field ---- */

struct authres_field {
    tern_str name;   /* its length counts in the first line */
    tern_str before; /* in front of the authserv-id: "i=1; ", or empty */
    tern_str id;     /* authserv-id: 1 to 255 octets of printable ASCII */
    const tern_str *texts;
    unsigned count;
    bool utf8;
    size_t room; /* of `out`, its NUL included; 0: AUTHRES_FIELD_OCTETS_MAX + 1 */
};

/* What the value can need at most, its NUL included: no more than AUTHRES_FIELD_OCTETS_MAX + 1. */
size_t authres_room(const struct authres_field *field);
bool authres_id_is_valid(tern_str id);
/*
 * The value, folded, without final CRLF; "none" if there is no result. `out` has field->room octets. Returns its
 * length; *ret_left_out: results that are none, or for which there was no room.
 */
size_t authres_compose(const struct authres_field *field, char *out, unsigned *ret_left_out);

/* What `results.NAME_detail` of these methods say, in that order; methods that did not run say nothing. "auth" is
 * said here, of a session that has logged in. Returns how many texts. `texts` has room for `count`. */
unsigned authres_gather(const struct tern_api *tern, tern_call *call, const tern_str *methods, unsigned count,
                        bool show_user, tern_str *texts);

/* ---- reading ---- */

struct authres_property {
    tern_str ptype, property;
    tern_str value; /* as written, quotes too; see authres_unquote() */
};
struct authres_read_result {
    tern_str whole; /* comments inside and behind it too */
    tern_str method, result;
    unsigned version;
    tern_str reason; /* as written, or empty */
    struct authres_property properties[AUTHRES_PROPERTIES_MAX];
    unsigned count;
};
struct authres_reader {
    const char *at, *end;
    bool strict, utf8;
    bool broken; /* it is no such field, or past a bound */
    bool none;   /* it says that there are no results */
    bool more;   /* a part must come, in the grammar */
    unsigned results;
};

/*
 * `value` is what stands behind the colon, with its folding. strict: the grammar; else values may also hold what should
 * have been quoted, as others write them. False: it is broken. *ret_id is as written, quotes too.
 */
bool authres_open(struct authres_reader *r, tern_str value, bool strict, bool utf8, tern_str *ret_id,
                  unsigned *ret_version);
/* A text without authserv-id. */
void authres_open_text(struct authres_reader *r, tern_str text, bool strict, bool utf8);
/* False at the end, or when broken. */
bool authres_next(struct authres_reader *r, struct authres_read_result *ret);
/* Without quotes and backslashes, into `out` of `room` octets, a NUL behind it. False: it does not fit. */
bool authres_unquote(tern_str value, char *out, size_t room, size_t *ret_len);
bool authres_is(tern_str word, const char *name); /* case does not count */

#endif
