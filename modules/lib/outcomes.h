/* SPDX-License-Identifier: Apache-2.0 */
/*
 * outcomes.h - what was concluded from answers of DNS, kept for as long as all of them are valid.
 *
 * A step that comes to the same conclusion for each mail of a sender finds it here instead of asking DNS, reading
 * records and evaluating them again. Whatever the conclusion depends on goes into the key: what DNS says apart, whose
 * end is the time given; the options by a realm, which is drawn anew at each reload. The whole key is compared, so that
 * nothing an attacker sends can be taken for something else; what he can do is push others out. Bounded; any thread.
 */
#ifndef MODULES_LIB_OUTCOMES_H
#define MODULES_LIB_OUTCOMES_H

#include <tern/module.h>

#include <string.h>

#define OUTCOMES_ENTRIES_MAX (1u << 20)
#define OUTCOME_OCTETS_MAX   4096 /* of a key and its outcome together; longer ones are not kept */

/* ---- until when ---- */

#define OUTCOME_ASKED_NOBODY INT64_MAX /* where it begins; such an outcome is not kept, there is nothing to save */
#define OUTCOME_NOT_KEPT     0

int64_t outcomes_now_ms(void); /* of a clock that nobody sets */
/* An answer of DNS came now: the outcome lives no longer than it; not at all if it failed, or is not to be kept. */
void outcome_until(int64_t *until_ms, const struct tern_dns_answer *answer);

/* ---- the cache ---- */

struct outcomes;

struct outcomes *outcomes_new(void); /* without room; NULL without memory */
void outcomes_free(struct outcomes *outcomes);
/* For so many at least: the most that a step wants. Where it grows it forgets everything. False: no memory. */
bool outcomes_reserve(struct outcomes *outcomes, unsigned entries);
/* A number that no step had before: drawn in check(). */
uint64_t outcomes_realm(void);
/* True: *ret is a copy in memory from alloc(), which must not ask for anything here. */
bool outcomes_find(struct outcomes *outcomes, tern_str key, int64_t now_ms,
                   void *(*alloc)(void *arg, size_t octets), void *arg, tern_str *ret);
/* Kept until then; what was used longest ago makes room. */
void outcomes_put(struct outcomes *outcomes, tern_str key, int64_t now_ms, int64_t until_ms, tern_str outcome);

/* ---- octets of keys and outcomes: numbers and strings one behind the other; strings with a NUL behind them ---- */

struct outcome_octets {
    char *at;
    size_t room, len;
    bool full; /* something did not fit */
};

static inline void outcome_put(struct outcome_octets *o, const void *octets, size_t count)
{
    if (o->full || count > o->room - o->len) {
        o->full = true;
        return;
    }
    if (count > 0)
        memcpy(o->at + o->len, octets, count);
    o->len += count;
}

static inline void outcome_put_number(struct outcome_octets *o, uint64_t number)
{
    outcome_put(o, &number, sizeof(number));
}

static inline void outcome_put_str(struct outcome_octets *o, tern_str s)
{
    outcome_put_number(o, s.len);
    outcome_put(o, s.ptr, s.len);
    outcome_put(o, "", 1);
}

/* A text of the program's own, by its address. */
static inline void outcome_put_text(struct outcome_octets *o, const char *text)
{
    outcome_put_number(o, (uint64_t)(uintptr_t)text);
}

/* What was put is taken in the same order. */
static inline uint64_t outcome_take_number(const char **at)
{
    uint64_t number;

    memcpy(&number, *at, sizeof(number));
    *at += sizeof(number);
    return number;
}

static inline tern_str outcome_take_str(const char **at)
{
    size_t len = (size_t)outcome_take_number(at);
    tern_str s = { *at, len };

    *at += len + 1;
    return s;
}

static inline const char *outcome_take_text(const char **at)
{
    return (const char *)(uintptr_t)outcome_take_number(at);
}

#endif
