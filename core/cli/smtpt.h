/* SPDX-License-Identifier: Apache-2.0 */
/*
 * smtpt.h - the language of `tern test`: SMTP dialogues with what the policy should decide.
 *
 * docs/testing.md explains it. The whole file is parsed before its first line runs. The parser is
 * pure: octets in, a tree in the arena or one sentence with its line out.
 */
#ifndef TERN_CLI_SMTPT_H
#define TERN_CLI_SMTPT_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/slice.h"

#define SMTPT_FILE_OCTETS_MAX (16u << 20)
#define SMTPT_TESTS_MAX       10000
#define SMTPT_LINES_MAX       100000 /* of one test */

enum smtpt_kind {
    SMTPT_CLIENT,     /* client 192.0.2.1 */
    SMTPT_LISTENER,   /* listener mx */
    SMTPT_EARLY,      /* early text: said before the greeting */
    SMTPT_DNS,        /* dns NAME TYPE VALUE... */
    SMTPT_KV,         /* kv SPACE KEY NUMBER */
    SMTPT_SAY,        /* C: line */
    SMTPT_EXPECT,     /* S: pattern */
    SMTPT_LINE,       /* S- pattern: some line of the last reply */
    SMTPT_MESSAGE,    /* message << ... >>: the octets behind DATA, and the dot */
    SMTPT_ADVANCE,    /* advance 5m */
    SMTPT_VERDICT,    /* verdict REJECT greylist */
    SMTPT_HEADER,     /* header Name: pattern */
    SMTPT_NO_HEADER,  /* no-header Name */
    SMTPT_ROUTE,      /* route rcpt key=value ... */
    SMTPT_QUEUED,     /* queued 2: messages stored in this test */
    SMTPT_HELD,       /* held pattern: the last message is held for that reason */
    SMTPT_SENDER,     /* sender pattern: as stored */
    SMTPT_RCPT,       /* rcpt pattern: one recipient of the last message, as stored */
    SMTPT_DISCONNECT, /* a new session begins with the next C: */
    SMTPT_TABLE,      /* file level: table NAME KEY [VALUE] */
};

struct smtpt_line {
    enum smtpt_kind kind;
    unsigned line_no;
    struct slice text; /* what stands behind the word; SMTPT_MESSAGE: the block */
};

struct smtpt_test {
    struct slice name;
    unsigned line_no;
    struct smtpt_line *lines;
    unsigned count, size;
};

struct smtpt_file {
    struct slice config_path; /* or */
    struct slice config_text;
    unsigned config_line;
    uint64_t clock_ms; /* when each test begins; 0: not said */
    struct smtpt_test common; /* dns, kv, table lines before the first test */
    struct smtpt_test *tests;
    unsigned count, size;
};

/* 0, or -EINVAL with *ret_line and *ret_error. Slices point into `text` or the arena. */
int smtpt_parse(struct slice text, struct arena *arena, struct smtpt_file *ret, unsigned *ret_line,
                const char **ret_error);
/* Pattern with * and ?; ASCII case counts. Bounded by pattern times text. */
bool smtpt_match(struct slice pattern, struct slice text);
/* The first word of *rest, which moves behind it. Empty at the end. */
struct slice smtpt_word(struct slice *rest);

#endif
