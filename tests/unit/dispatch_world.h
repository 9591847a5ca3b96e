/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dispatch_world.h - everything around dispatch for its tests: a spool in memory with a thread
 * of its own, a policy that routes by domain, a DNS with fixed answers, clients that play next
 * hops by host name. Loops, scheduler and pool are the real ones.
 *
 * Domains:  box.test (a module's transport), fixed.test (h1, then h2), fallback.test (down1,
 * then h2),
 *           down.test (down1 only), busy.test (421), drop.test (a hop that closes after each
 * message), last.test (the same with 421 to the second), quits.test (a hop that says 421 to each
 * message, then h2), hangs.test (such hops only), soft.test (soft1, down2, soft2, then h2; soft1 and
 * soft2 put off soft* and each second recipient of a message), softer.test (soft1, soft2),
 * softdown.test (soft1, down1), limits.test (three recipients of a transaction and two messages of a
 * connection, RFC 9422), ten.test and eleven.test (as many of them),
 *           reject.test, defer.test, discard.test, nowhere.test (a transport that is not there),
 *           and by MX: good.mx, null.mx, none.mx, noaddr.mx, fail.mx, own.mx, worse.mx,
 * better.mx, slow.mx. Local parts: bad* (550), later* (451), few* (452 4.5.3 behind
 * another recipient of the transaction); at box.test also none* (no
 * outcome), stuck* (waits);
 *           in hook deliver: hold*, refuse*, reroute* (to fixed.test's hop).
 */
#ifndef TERN_TESTS_DISPATCH_WORLD_H
#define TERN_TESTS_DISPATCH_WORLD_H

#include <stdatomic.h>

#include "delivery/dispatch.h"

#define WORLD_MESSAGES_MAX 6000
#define WORLD_RCPTS_MAX    3000

struct world_message {
    struct spool_key key;
    char *envelope;
    size_t envelope_len;
    uint32_t rcpt_count, pending, attempts;
    uint8_t *states;
    char (*texts)[160];
    _Atomic unsigned *carried; /* 250 said, by recipient */
    uint64_t due_ms, arrival_ms;
    bool held, bounce;
    char held_text[160];
    unsigned changes;
    char *body; /* of a notice */
};

struct world_options {
    unsigned loops;
    bool async; /* policy and DNS answer later */
    bool soft_bounce;
    tern_verdict notice; /* NEXT, or what the policy `generated` says */
    uint64_t retry_min_ms;
    unsigned connections_max, rcpts_max, messages_max, ready_max;
    uint64_t idle_ms, module_timeout_ms, box_timeout_ms; /* box_timeout_ms: the transport's own */
    uint64_t expire_ms;
};

extern struct world_message *world_messages[WORLD_MESSAGES_MAX];
extern _Atomic unsigned world_message_count;
extern _Atomic bool world_disk_full;
/* How often a body was opened, how many are, and which time fails with EMFILE (0: none). */
extern _Atomic unsigned world_body_opens, world_bodies_open, world_body_open_fails;
extern _Atomic unsigned world_connections, world_connecting_failed, world_transactions, world_jobs,
    world_jobs_failed;
extern _Atomic unsigned world_results[5]; /* delivered, deferred, bounced, expired, other */
extern _Atomic unsigned world_parcel_rcpts_max, world_generations;
extern _Atomic bool world_stuck_released;
extern _Atomic tern_verdict world_notice_verdict; /* options.notice; may change */

void world_start(const struct world_options *options);
/* Drains, ends and frees all. Asserts that nothing is left. */
void world_stop(void);
/* Recipients separated by blanks; durable and with the scheduler when it returns. Number of the
 * message. */
unsigned world_send(const char *sender, const char *rcpts);
unsigned world_send_aged(const char *sender, const char *rcpts, uint64_t age_ms,
                         const char *notify);
/* Waits until the message has no pending recipient, or has had `attempts` of them; false after
 * 10 s. */
bool world_wait(unsigned message, uint32_t attempts);
bool world_wait_for(bool (*is_so)(void));
enum spool_rcpt_state world_state(unsigned message, uint32_t rcpt);
bool world_held(unsigned message);
const char *world_text(unsigned message, uint32_t rcpt); /* once nobody changes it */
bool world_has_text(unsigned message, uint32_t rcpt);
const char *world_notice(void); /* the text of the first one; "" without */
unsigned world_notices(void); /* messages that dispatch has made */
struct scheduler *world_scheduler(void);
struct spool *world_spool(void);
void world_stats(struct dispatch_stats *ret);

#endif
