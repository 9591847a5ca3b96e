/* SPDX-License-Identifier: Apache-2.0 */
/*
 * box.h - a Lua state that cannot hurt: bounded in memory, work and time.
 *
 * Work is counted in units: an instruction of Lua, a step of the pattern matcher,
 * 32 octets allocated. A call that has used up what it may is *doomed*: it never gets to run on,
 * whatever pcall() it wraps itself in. A call that has run for a slice is paused, so that the
 * loop can
 * serve others, and goes on later.
 * Not here: which functions a script sees (sandbox.h), what a call is (run.h).
 */
#ifndef TERN_LUA_BOX_H
#define TERN_LUA_BOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lua.h>
#include <lauxlib.h>

/* Work between two looks at the clock; less once a state holds big strings or tables, in which
 * one instruction can be long (a comparison, a conversion). */
#define BOX_COUNT_USUAL 1000
#define BOX_COUNT_BIG   100 /* something of 64 KB was allocated */
#define BOX_COUNT_HUGE  10  /* something of 1 MB */

#define BOX_SLICE_UNITS 200000 /* then the loop has its turn: about a millisecond */
#define BOX_SLICE_US    2000
#define BOX_STRETCH_UNITS                                                                          \
    5000000 /* where Lua cannot pause: a sort, a gsub callback, a metamethod */
#define BOX_STRETCH_US            50000
#define BOX_ALLOC_OCTETS_PER_UNIT 32
#define BOX_LOAD_UNITS_MAX        10000000 /* the run of a script's top level */
#define BOX_LOAD_US_MAX           2000000
#define BOX_MEMORY_DEFAULT        (16u << 20)
#define BOX_MATCH_STEPS_MAX       2000000 /* of one call of find, match, gmatch, gsub */

enum box_doom { BOX_SOUND, BOX_OUT_OF_WORK, BOX_OUT_OF_TIME, BOX_OUT_OF_MEMORY, BOX_TOO_LONG };

/* What one call may use. */
struct box_budget {
    uint64_t units_left, units_max;
    uint64_t us_left, us_max;
    uint64_t growth_left; /* octets; see box_enter() */
    bool slices;          /* false: the top level of a script, which cannot pause */
    /* below: the box's */
    uint64_t slice_used, slice_began_us;
    size_t octets_began;
    int count; /* what the hook is armed with */
    enum box_doom doom;
    char where[96]; /* "policy.lua:17: " */
};

struct lua_run;

struct lua_box {
    lua_State *L;
    size_t octets;             /* in use */
    size_t octets_max;         /* now */
    size_t refused;            /* the last allocation that did not fit; 0 after one that did */
    size_t largest;            /* ever allocated in one piece */
    struct box_budget *budget; /* of the call at work, or NULL */
    lua_State *running;        /* its coroutine, or L */
    struct lua_run *run;       /* for the bindings; NULL outside hooks */
    void *owner;
};

/* A state without any library. False: out of memory. */
bool box_init(struct lua_box *box, size_t octets_max);
void box_fini(struct lua_box *box);
struct lua_box *box_of(lua_State *L);

/* Runs fn(arg) where errors are caught, outside any budget. 0 or a Lua status; leaves nothing
 * on the stack. */
int box_protected(struct lua_box *box, lua_CFunction fn, void *arg);

/* Around each lua_resume() or lua_pcall() on `running`: box_enter() arms the budget, box_leave()
 * takes
 * what was used off it. `memory_max`: of the whole state. They may nest: keep the struct. */
struct box_entered {
    struct box_budget *budget;
    lua_State *running;
    struct lua_run *run;
    size_t octets_max;
};
struct box_entered box_enter(struct lua_box *box, struct box_budget *budget, lua_State *running,
                             struct lua_run *run, size_t memory_max);
void box_leave(struct lua_box *box, struct box_entered before);

/* Takes `units` off the budget of the call at work; the stop, if one is due, comes at its next
 * instruction. */
void box_charge(lua_State *L, uint64_t units);
/* What the matcher may use now: at most BOX_MATCH_STEPS_MAX. */
uint64_t box_steps(lua_State *L);
/* The sentence for a doomed budget, with its place. */
void box_doom_text(const struct box_budget *budget, size_t memory_max, char *text, size_t octets);
/* "policy.lua:17: " of the innermost line of Lua at work in L; empty if there is none. No
 * allocation. */
void box_where(lua_State *L, char *text, size_t octets);

#endif
