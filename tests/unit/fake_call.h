/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fake_call.h - a tern_call made of plain fields, and the functions of the ABI over it, so that a module's
 * handlers are called without a runner.
 */
#ifndef TEST_FAKE_CALL_H
#define TEST_FAKE_CALL_H

#include <tern/module.h>

#include "base/arena.h"

struct tern_call {
    struct arena arena;
    struct tern_recipient rcpt;
    struct tern_mailbox sender;
    tern_address client;
    unsigned rcpt_count;
    const char *tags; /* " vip bulk " */
    const char *helo;
    bool table_down; /* no answer can be had */
    bool table_slow; /* it comes by callback: see fake_call_answer() */
    /* what the module did */
    unsigned code;
    char enhanced[12];
    char text[512];
    struct tern_route route;
    char header[256];
    char note[64];
    void *slot;
    const struct tern_table *asked;
    char asked_key[320];
    tern_table_fn answer_to;
    tern_verdict completed; /* WAIT until then */
};

/* Runs the callback of table_find() with the table's answer. */
void fake_call_answer(tern_call *call, const void *conf);

/* Puts the functions into fixture_api. */
void fake_call_install(void);
struct tern_mailbox fake_mailbox(struct arena *arena, const char *local, const char *domain);

#endif
