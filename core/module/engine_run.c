/* SPDX-License-Identifier: Apache-2.0 */
/*
 * engine_run.c - runs that the sessions of a loop borrow for the time of a question.
 *
 * A run is given back before the answer is told, not at the end of the transaction: what the answer sets off may
 * be the next question of the same session (pipelining), and takes the same run again. No malloc in either case.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "module/engine_private.h"

struct session_run *run_borrow(struct engine_session *s)
{
    struct engine *engine = s->scope.engine;
    struct session_run *r = s->asked;

    if (r != NULL)
        return r;
    r = engine->spare_runs;
    if (r != NULL) {
        engine->spare_runs = r->next;
        engine->spare_run_count--;
    } else {
        r = mem_zalloc(sizeof(*r));
        run_init(&r->run);
    }
    r->session = s;
    r->done = NULL;
    r->profiles = NULL;
    r->aside = NULL;
    r->vrfy_memory = NULL;
    s->asked = r;
    return r;
}

void run_give_back(struct engine_session *s)
{
    struct engine *engine = s->scope.engine;
    struct session_run *r = s->asked;

    if (r == NULL)
        return;
    profiles_cancel(&r->profiles);
    run_abort(&r->run);
    if (r->aside != NULL)
        s->txn = r->aside;
    shared_arena_unref(r->vrfy_memory);
    s->asked = NULL;
    if (engine->spare_run_count >= ENGINE_SPARE_RUNS_MAX) {
        free(r);
        return;
    }
    r->next = engine->spare_runs;
    engine->spare_runs = r;
    engine->spare_run_count++;
}

void spare_runs_free(struct engine *engine)
{
    while (engine->spare_runs != NULL) {
        struct session_run *r = engine->spare_runs;
        engine->spare_runs = r->next;
        free(r);
    }
}
