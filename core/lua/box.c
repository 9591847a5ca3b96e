/* SPDX-License-Identifier: Apache-2.0 */
/*
 * box.c - see box.h.
 *
 * How a call is stopped for good: the count hook yields and nobody resumes it, so there is no
 * error that a pcall could catch. Where Lua cannot yield (a C function is in between: sort, gsub, a
 * metamethod called from C) the hook arms itself at count 1 and raises; a pcall around that
 * gains one
 * instruction before it is raised again, up to where yielding is possible or the call ends.
 * The same for memory: an allocation refused twice in a row (Lua collects all garbage in
 * between) dooms the call, since otherwise pcall in a loop would buy a full collection a turn.
 */
#include "lua/box.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"

/* What the binding itself may need outside calls: coroutines, the waiting call's values. */
#define RESERVE_OCTETS (256u << 10)

/* Sanitized code is slower by an order of magnitude; the bounds in units stay. */
#ifdef TERN_SANITIZED
#define TIME_FACTOR 20
#else
#define TIME_FACTOR 1
#endif

struct lua_box *box_of(lua_State *L)
{
    return *(struct lua_box **)lua_getextraspace(L);
}

/* ---- work ---- */

static void on_count(lua_State *L, lua_Debug *ar);

static int usual_count(const struct lua_box *box)
{
    if (box->largest < (64u << 10))
        return BOX_COUNT_USUAL;
    return box->largest < (1u << 20) ? BOX_COUNT_BIG : BOX_COUNT_HUGE;
}

/* lua_sethook may be called at any time, even by a signal handler: so from the allocator too. */
static void arm(struct lua_box *box, int count)
{
    box->budget->count = count;
    lua_sethook(box->running, on_count, LUA_MASKCOUNT, count);
}

static void spend(struct lua_box *box, uint64_t units)
{
    struct box_budget *b = box->budget;

    b->units_left -= units < b->units_left ? units : b->units_left;
    b->slice_used += units;
}

static void charge(struct lua_box *box, uint64_t units)
{
    struct box_budget *b = box->budget;

    if (b == NULL)
        return;
    spend(box, units);
    if (b->count != 1 && (b->units_left == 0 || b->slice_used >= BOX_SLICE_UNITS))
        arm(box, 1);
}

void box_charge(lua_State *L, uint64_t units)
{
    charge(box_of(L), units);
}

uint64_t box_steps(lua_State *L)
{
    const struct box_budget *b = box_of(L)->budget;

    if (b == NULL || b->units_left > BOX_MATCH_STEPS_MAX)
        return BOX_MATCH_STEPS_MAX;
    return b->units_left;
}

static void doom(struct lua_box *box, enum box_doom why)
{
    struct box_budget *b = box->budget;

    if (b == NULL || b->doom != BOX_SOUND)
        return;
    b->doom = why;
    arm(box, 1);
}

/* In the hook. Either yields (and is never resumed) or raises. */
static void stop(lua_State *L, struct lua_box *box)
{
    if (box->budget->where[0] == '\0')
        box_where(L, box->budget->where, sizeof(box->budget->where));
    arm(box, 1);
    if (lua_isyieldable(L))
        lua_yield(L, 0);
    else
        luaL_error(L, "%sstopped", box->budget->where);
}

/* A slice is over: pause, if that can be done here. */
static void end_slice(lua_State *L, struct lua_box *box, uint64_t us)
{
    struct box_budget *b = box->budget;

    if (!b->slices)
        return;
    if (lua_isyieldable(L)) {
        lua_yield(L, 0);
        return;
    }
    /* On a machine that is busy with others time passes without work: then the bound is ten
     * times that. */
    uint64_t us_max = (uint64_t)BOX_STRETCH_US * TIME_FACTOR;
    if (b->slice_used >= BOX_STRETCH_UNITS || us >= 10 * us_max ||
        (us >= us_max && b->slice_used >= BOX_SLICE_UNITS)) {
        doom(box, BOX_TOO_LONG);
        stop(L, box);
    }
}

static void on_count(lua_State *L, lua_Debug *ar)
{
    struct lua_box *box = box_of(L);
    struct box_budget *b = box->budget;

    (void)ar;
    assert(b != NULL);
    spend(box, (uint64_t)b->count);
    uint64_t us = clock_now_us() - b->slice_began_us;
    if (b->doom == BOX_SOUND && b->units_left == 0)
        doom(box, BOX_OUT_OF_WORK);
    else if (b->doom == BOX_SOUND && us >= b->us_left)
        doom(box, BOX_OUT_OF_TIME);
    if (b->doom != BOX_SOUND) {
        stop(L, box);
        return;
    }
    if (b->count != usual_count(box))
        arm(box, usual_count(box));
    if (b->slice_used >= BOX_SLICE_UNITS || us >= BOX_SLICE_US)
        end_slice(L, box, us);
}

/* ---- memory ---- */

/* From now on one instruction may be long, so they are counted in smaller steps. */
static void note_largest(struct lua_box *box, size_t octets)
{
    int before = usual_count(box);

    box->largest = octets;
    if (box->budget != NULL && box->budget->count != 1 && usual_count(box) != before)
        arm(box, usual_count(box));
}

static bool fits(struct lua_box *box, size_t more, size_t whole)
{
    size_t room = box->octets_max > box->octets ? box->octets_max - box->octets : 0;

    if (more <= room) {
        box->refused = 0;
        if (whole > box->largest)
            note_largest(box, whole);
        charge(box, whole / BOX_ALLOC_OCTETS_PER_UNIT);
        return true;
    }
    if (box->refused == whole)
        doom(box, BOX_OUT_OF_MEMORY);
    box->refused = whole;
    /* Lua now collects all garbage, which costs in proportion to what is there. */
    charge(box, box->octets / BOX_ALLOC_OCTETS_PER_UNIT);
    return false;
}

static void *allocate(void *arg, void *old, size_t old_octets, size_t octets)
{
    struct lua_box *box = arg;
    size_t had = old != NULL ? old_octets : 0; /* without `old` it is the type of the object */

    if (octets == 0) {
        free(old);
        box->octets -= had;
        return NULL;
    }
    if (octets > had && !fits(box, octets - had, octets))
        return NULL;
    void *new = realloc(old, octets);
    if (new == NULL)
        return octets <= had ? old : NULL; /* Lua takes for granted that shrinking works */
    box->octets += octets - had;
    return new;
}

/* Everything that may raise runs in a protected call; so this is a bug, and says which. */
static int on_panic(lua_State *L)
{
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "unknown error";

    fprintf(stderr, "Lua error outside a protected call: %s\n", text);
    abort();
}

bool box_init(struct lua_box *box, size_t octets_max)
{
    *box = (struct lua_box){ .octets_max = octets_max + RESERVE_OCTETS };
    box->L = lua_newstate(allocate, box);
    if (box->L == NULL)
        return false;
    box->running = box->L;
    *(struct lua_box **)lua_getextraspace(box->L) = box;
    lua_atpanic(box->L, on_panic);
    return true;
}

void box_fini(struct lua_box *box)
{
    if (box->L != NULL)
        lua_close(box->L);
    box->L = NULL;
}

/* ---- calls ---- */

int box_protected(struct lua_box *box, lua_CFunction fn, void *arg)
{
    lua_pushcfunction(box->L, fn); /* neither of the two pushes allocates */
    lua_pushlightuserdata(box->L, arg);
    int status = lua_pcall(box->L, 1, 0, 0);
    if (status != LUA_OK)
        lua_pop(box->L, 1);
    return status;
}

struct box_entered box_enter(struct lua_box *box, struct box_budget *budget, lua_State *running,
                             struct lua_run *run, size_t memory_max)
{
    struct box_entered before = { box->budget, box->running, box->run, box->octets_max };
    size_t growth_max = box->octets + budget->growth_left;

    budget->octets_began = box->octets;
    budget->slice_used = 0;
    budget->slice_began_us = clock_now_us();
    box->octets_max = growth_max < memory_max ? growth_max : memory_max;
    box->refused = 0;
    box->budget = budget;
    box->running = running;
    box->run = run;
    /* What was used up just before a wait is noticed now, or a loop around the wait would go
     * on for ever. */
    bool used_up = budget->doom != BOX_SOUND || budget->units_left == 0 || budget->us_left == 0;
    arm(box, used_up ? 1 : usual_count(box));
    return before;
}

void box_leave(struct lua_box *box, struct box_entered before)
{
    struct box_budget *b = box->budget;
    uint64_t us = clock_now_us() - b->slice_began_us;
    size_t grown = box->octets > b->octets_began ? box->octets - b->octets_began : 0;

    b->us_left -= us < b->us_left ? us : b->us_left;
    b->growth_left -= grown < b->growth_left ? grown : b->growth_left;
    lua_sethook(box->running, NULL, 0, 0);
    box->budget = before.budget;
    box->running = before.running;
    box->run = before.run;
    box->octets_max = before.octets_max;
}

/* ---- words ---- */

void box_where(lua_State *L, char *text, size_t octets)
{
    lua_Debug ar;

    text[0] = '\0';
    for (int level = 0; level < 100 && lua_getstack(L, level, &ar) != 0; level++) {
        if (lua_getinfo(L, "Sl", &ar) != 0 && ar.currentline > 0) {
            (void)snprintf(text, octets, "%s:%d: ", ar.short_src, ar.currentline);
            return;
        }
    }
}

void box_doom_text(const struct box_budget *b, size_t memory_max, char *text, size_t octets)
{
    switch (b->doom) {
    case BOX_OUT_OF_WORK:
        (void)snprintf(text, octets, "%sused up its %llu instructions", b->where,
                       (unsigned long long)b->units_max);
        return;
    case BOX_OUT_OF_TIME:
        (void)snprintf(text, octets, "%sran for longer than %llu ms", b->where,
                       (unsigned long long)b->us_max / 1000);
        return;
    case BOX_OUT_OF_MEMORY:
        (void)snprintf(text, octets, "%sused up its memory (%zu octets for the script)", b->where,
                       memory_max);
        return;
    case BOX_TOO_LONG:
        (void)snprintf(text, octets, "%sran for too long in a sort, gsub or metamethod", b->where);
        return;
    case BOX_SOUND: break;
    }
    (void)snprintf(text, octets, "%sfailed", b->where);
}
