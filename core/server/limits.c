/* SPDX-License-Identifier: Apache-2.0 */
#include "server/limits.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/table.h"

struct session_limits {
    pthread_mutex_t lock;
    struct table addresses; /* network -> count, as a number in the pointer */
    unsigned sessions;
};

struct session_limits *session_limits_new(void)
{
    struct session_limits *l = mem_zalloc(sizeof(*l));

    (void)pthread_mutex_init(&l->lock, NULL);
    table_init(&l->addresses);
    return l;
}

void session_limits_free(struct session_limits *l)
{
    if (l == NULL)
        return;
    table_free(&l->addresses, NULL);
    (void)pthread_mutex_destroy(&l->lock);
    free(l);
}

static struct slice key_of(const tern_address *network)
{
    return slice_make((const char *)network->octets, network->family == 4 ? 4 : 16);
}

enum limit_answer session_limits_enter(struct session_limits *l, const tern_address *network,
                                       unsigned sessions_max, unsigned per_address_max)
{
    enum limit_answer answer = LIMIT_OK;

    (void)pthread_mutex_lock(&l->lock);
    uintptr_t n = (uintptr_t)table_get(&l->addresses, key_of(network));
    if (l->sessions >= sessions_max) {
        answer = LIMIT_SESSIONS;
    } else if (n >= per_address_max) {
        answer = LIMIT_ADDRESS;
    } else {
        l->sessions++;
        (void)table_put(&l->addresses, key_of(network), (void *)(n + 1));
    }
    (void)pthread_mutex_unlock(&l->lock);
    return answer;
}

void session_limits_leave(struct session_limits *l, const tern_address *network)
{
    (void)pthread_mutex_lock(&l->lock);
    uintptr_t n = (uintptr_t)table_get(&l->addresses, key_of(network));
    assert(l->sessions > 0 && n > 0); /* else somebody leaves who never entered */
    l->sessions--;
    if (n <= 1)
        (void)table_remove(&l->addresses, key_of(network));
    else
        (void)table_put(&l->addresses, key_of(network), (void *)(n - 1));
    (void)pthread_mutex_unlock(&l->lock);
}

unsigned session_limits_count(struct session_limits *l)
{
    (void)pthread_mutex_lock(&l->lock);
    unsigned n = l->sessions;
    (void)pthread_mutex_unlock(&l->lock);
    return n;
}
