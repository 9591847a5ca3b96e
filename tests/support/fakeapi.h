/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fakeapi.h - a tern_call made of plain fields, and the whole of the ABI over it, under the test's control.
 *
 * What a step does goes, a line each, into `did`: "tag bulk", "reply reject 550 5.7.1 text". What it waits for
 * is queued, and answered by fake_step() one at a time.
 */
#ifndef TEST_FAKEAPI_H
#define TEST_FAKEAPI_H

#include <tern/module.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/list.h"

struct fake_note {
    const char *name, *value;
};
struct fake_dns {
    const char *name, *text; /* text: "127.0.0.2 127.0.0.3"; NULL: absent; "!timeout": failed */
};

struct tern_call {
    struct arena arena;
    const void *conf;
    const char *client, *helo, *user, *listener;
    const char *id, *sender;         /* "local@domain" */
    const char *rcpts[16];           /* accepted so far */
    const char *rcpt;                /* at `rcpt` */
    const char *const *headers;      /* "Name: value", NULL-terminated */
    const char *body;
    uint64_t octets;
    struct tern_part parts[8];
    unsigned part_count;
    struct fake_note notes[16], results[16], vars[16];
    const char *tags;                /* " vip bulk " */
    const struct fake_dns *dns;      /* ends with name NULL */
    bool kv_down, table_down, table_waits, inside; /* inside: answers before the function returns */
    const char *outcome;
    int64_t now_s;
    /* what came of it */
    struct buf did, logged;
    tern_verdict verdict;
    unsigned completed;
    struct tern_route route;
    struct list waiting;
};

extern struct tern_api fake_api;

void fake_call_init(tern_call *call, const void *conf);
void fake_call_fini(tern_call *call);
/* Answers what was asked first. False: nothing is asked. */
bool fake_step(tern_call *call);
/* Calls the handler and answers all it asks: the verdict. */
tern_verdict fake_run(tern_call *call, const struct tern_module *module, enum tern_hook_point hook);
void fake_kv_clear(void);

/* Options of a script: defaults, then "key=value ..." in the notation of the schema. The caller frees by fake_conf_free. */
const void *fake_conf(const struct tern_module *module, const char *yaml);
void fake_conf_free(void);
extern struct buf fake_config_text; /* what was wrong with it */

#endif
