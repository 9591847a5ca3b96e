/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hello - the tutorial: a whole module, to copy and change. docs/modules.md walks through it.
 *
 * It greets mail with a header field, and sends those away who say the forbidden word in
 * EHLO. Build it against the installed header with nothing else:
 *     cc -std=gnu17 -shared -fPIC -o hello.so hello.c
 */
#include <tern/module.h>

#include <strings.h>

/* The functions of the server. There is no other way to reach it: a module links to nothing. */
static const struct tern_api *tern;
static void *greeted;

/* Filled by the server from the YAML, by the table `options` below. */
struct hello_conf {
    tern_str greeting;
    tern_str forbidden;
};

/* On the session's own thread: answer at once, never wait here. */
static tern_verdict on_ehlo(tern_call *call, const void *conf)
{
    const struct hello_conf *c = conf;

    if (c->forbidden.len == 0 || strcasecmp(tern->helo_name(call).ptr, c->forbidden.ptr) != 0)
        return TERN_NEXT; /* no opinion: the next step is asked */
    return tern->reply(call, TERN_REJECT, 550, "5.7.1", "We do not greet %s here",
                       c->forbidden.ptr);
}

/* The whole message is there, and not yet queued. Runs once for each group of recipients. */
static tern_verdict on_message(tern_call *call, const void *conf)
{
    const struct hello_conf *c = conf;

    tern->counter_add(greeted, 1);
    if (tern->header_prepend(call, "X-Hello", c->greeting) < 0)
        return TERN_ERROR; /* the step's on_error decides */
    return TERN_NEXT;
}

/* Once per process, before the first session. */
static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    greeted = tern->counter("tern_hello_greeted_total", "Messages that hello greeted.");
    *ret_state = NULL;
    return 0;
}

static const struct tern_option options[] = {
    TERN_OPTION_STRING(struct hello_conf, greeting, "Hello from Tern", "What X-Hello says."),
    TERN_OPTION_STRING(struct hello_conf, forbidden, "", "A name in EHLO that is refused."),
    TERN_OPTIONS_END,
};

/* Where the step is asked, and which verdicts it may give there. */
static const struct tern_hook hooks[] = {
    { TERN_HOOK(EHLO, on_ehlo), .answers = TERN_MAY_REJECT },
    { TERN_HOOK(MESSAGE, on_message) },
    TERN_HOOKS_END,
};

TERN_MODULE(.name = "hello", .summary = "Greet mail; the tutorial.", .options = options,
            .conf_size = sizeof(struct hello_conf), .hooks = hooks, .init = init);
