/* SPDX-License-Identifier: Apache-2.0 */
/*
 * load.h - how much memory and how many descriptors the worker uses, and whether that is too much to take on more.
 *
 * What counts is what the kernel sees: the process's own pages, whoever asked for them (sessions, bodies, scripts,
 * the queue's index), and the lowest free descriptor. Above a bound new sessions and new messages are put off
 * before anything breaks; what is under way goes on, and its end makes the room. Any thread.
 */
#ifndef TERN_SERVER_LOAD_H
#define TERN_SERVER_LOAD_H

#include <stdbool.h>
#include <stdint.h>

#define LOAD_SAMPLE_MS 100 /* looked at so often at most */

enum load_answer { LOAD_OK, LOAD_MEMORY, LOAD_DESCRIPTORS };

struct load_limits {
    uint64_t memory_octets; /* 0: half of what the machine, or its container, has */
    unsigned descriptors;   /* 0: what the process may have (RLIMIT_NOFILE) */
};

struct load;

/* Raises the soft limit of descriptors to the hard one; opens what it reads. */
struct load *load_new(void);
void load_free(struct load *load);
enum load_answer load_check(struct load *load, const struct load_limits *limits, uint64_t now_ms);
/* The same for a descriptor just accepted: its number says how many there are. */
enum load_answer load_check_descriptor(struct load *load, const struct load_limits *limits, int fd, uint64_t now_ms);
/* Gives free pages of the heap back to the system if they are what is too much. Takes milliseconds: not for loops. */
void load_relieve(struct load *load);
/* As last seen, for metrics. */
uint64_t load_memory_octets(const struct load *load);
unsigned load_descriptors(const struct load *load);

#endif
