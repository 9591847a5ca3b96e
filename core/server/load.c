/* SPDX-License-Identifier: Apache-2.0 */
#include "server/load.h"

#include <fcntl.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"

/* Descriptors that sessions leave alone, for the queue, bodies in files and deliveries: an eighth. */
#define RESERVE_MIN 16
#define RESERVE_MAX 1024

struct load {
    int statm_fd;
    uint64_t default_octets;
    unsigned default_descriptors;
    _Atomic uint64_t next_ms; /* when to look again */
    _Atomic uint64_t memory;
    _Atomic unsigned descriptors;
    _Atomic int answer;
};

static uint64_t read_number(const char *path)
{
    char text[32] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return 0;
    ssize_t n = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    return n > 0 ? strtoull(text, NULL, 10) : 0; /* "max" is 0: no bound */
}

static uint64_t half_of_memory(void)
{
    uint64_t all = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
    uint64_t container = read_number("/sys/fs/cgroup/memory.max");

    return (container > 0 && container < all ? container : all) / 2;
}

static unsigned raise_descriptors(void)
{
    struct rlimit r;

    if (getrlimit(RLIMIT_NOFILE, &r) < 0)
        return 1024;
    if (r.rlim_cur < r.rlim_max) {
        struct rlimit all = { r.rlim_max, r.rlim_max };
        if (setrlimit(RLIMIT_NOFILE, &all) == 0)
            r = all;
    }
    return r.rlim_cur < UINT32_MAX / 2 ? (unsigned)r.rlim_cur : UINT32_MAX / 2;
}

struct load *load_new(void)
{
    struct load *l = mem_zalloc(sizeof(*l));

    l->default_octets = half_of_memory();
    l->default_descriptors = raise_descriptors();
    l->statm_fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    return l;
}

void load_free(struct load *l)
{
    if (l == NULL)
        return;
    if (l->statm_fd >= 0)
        (void)close(l->statm_fd);
    free(l);
}

/* Pages of our own: what maps files is the kernel's to drop. */
static uint64_t own_octets(const struct load *l)
{
    char text[128];
    unsigned long long size, resident, shared;
    ssize_t n = l->statm_fd >= 0 ? pread(l->statm_fd, text, sizeof(text) - 1, 0) : -1;

    if (n <= 0)
        return 0;
    text[n] = '\0';
    if (sscanf(text, "%llu %llu %llu", &size, &resident, &shared) != 3 || resident < shared)
        return 0;
    return (resident - shared) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* The kernel gives the lowest free number: all below it are taken. */
static unsigned used_descriptors(const struct load *l)
{
    int fd = l->statm_fd >= 0 ? fcntl(l->statm_fd, F_DUPFD_CLOEXEC, 0) : -1;

    if (fd < 0)
        return UINT32_MAX;
    (void)close(fd);
    return (unsigned)fd;
}

static unsigned for_sessions(const struct load *l, const struct load_limits *limits)
{
    unsigned max = limits->descriptors > 0 && limits->descriptors < l->default_descriptors
                       ? limits->descriptors : l->default_descriptors;
    unsigned reserve = max / 8;

    reserve = reserve < RESERVE_MIN ? RESERVE_MIN : reserve > RESERVE_MAX ? RESERVE_MAX : reserve;
    return max > reserve ? max - reserve : 0;
}

static uint64_t memory_max(const struct load *l, const struct load_limits *limits)
{
    return limits->memory_octets > 0 ? limits->memory_octets : l->default_octets;
}

static void tell(const struct load *l, const struct load_limits *limits, enum load_answer answer)
{
    if (answer == LOAD_MEMORY)
        log_event(LOG_WARNING, LOG_EV_limit, NULL,
                  "limits.memory is reached (%llu of %llu MB): new sessions and messages are put off until there "
                  "is less",
                  (unsigned long long)(atomic_load(&l->memory) >> 20),
                  (unsigned long long)(memory_max(l, limits) >> 20));
    else if (answer == LOAD_DESCRIPTORS)
        log_event(LOG_WARNING, LOG_EV_limit, NULL,
                  "limits.descriptors is reached (sessions may have those below %u): new sessions and messages are "
                  "put off until there are fewer", for_sessions(l, limits));
    else
        log_event(LOG_INFO, LOG_EV_limit, NULL, "there is room again for sessions and messages");
}

static void settle(struct load *l, const struct load_limits *limits, enum load_answer answer)
{
    if (atomic_exchange(&l->answer, (int)answer) != (int)answer)
        tell(l, limits, answer);
}

enum load_answer load_check(struct load *l, const struct load_limits *limits, uint64_t now_ms)
{
    uint64_t due = atomic_load_explicit(&l->next_ms, memory_order_relaxed);

    if (now_ms < due || !atomic_compare_exchange_strong(&l->next_ms, &due, now_ms + LOAD_SAMPLE_MS))
        return (enum load_answer)atomic_load_explicit(&l->answer, memory_order_relaxed);
    uint64_t memory = own_octets(l);
    unsigned descriptors = used_descriptors(l);
    atomic_store(&l->memory, memory);
    atomic_store(&l->descriptors, descriptors);
    enum load_answer answer = memory >= memory_max(l, limits)              ? LOAD_MEMORY
                              : descriptors >= for_sessions(l, limits) ? LOAD_DESCRIPTORS
                                                                           : LOAD_OK;
    settle(l, limits, answer);
    return answer;
}

enum load_answer load_check_descriptor(struct load *l, const struct load_limits *limits, int fd, uint64_t now_ms)
{
    if (fd >= 0 && (unsigned)fd < for_sessions(l, limits))
        return load_check(l, limits, now_ms);
    settle(l, limits, LOAD_DESCRIPTORS);
    return LOAD_DESCRIPTORS;
}

void load_relieve(struct load *l)
{
    if (atomic_load(&l->answer) != LOAD_MEMORY)
        return;
    (void)malloc_trim(0);
    atomic_store(&l->next_ms, 0);
}

uint64_t load_memory_octets(const struct load *l)
{
    return atomic_load(&l->memory);
}

unsigned load_descriptors(const struct load *l)
{
    return atomic_load(&l->descriptors);
}
