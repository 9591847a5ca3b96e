/* SPDX-License-Identifier: Apache-2.0 */
/*
 * port.c - a list behind a lock, and one loop task that empties it.
 *
 * One task for all items, so that a burst of answers wakes the loop once, and so that
 * nothing of the items' memory is in the loop's queue when the engine goes.
 */
#include "module/port.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/mem.h"

struct port {
    _Atomic unsigned refs;
    pthread_mutex_t lock;
    struct loop *loop; /* NULL: closed */
    struct list items;
    struct loop_task task;
    bool posted; /* the task is in the loop's queue and holds a reference */
};

static void run_items(struct list *items, bool gone)
{
    for (struct list *link = list_pop(items); link != NULL; link = list_pop(items)) {
        struct port_item *item = list_entry(link, struct port_item, link);
        item->run(item, gone);
    }
}

static void empty(struct loop_task *task)
{
    struct port *port = list_entry(task, struct port, task);
    struct list items;

    list_init(&items);
    pthread_mutex_lock(&port->lock);
    list_splice(&items, &port->items);
    port->posted = false;
    pthread_mutex_unlock(&port->lock);
    run_items(&items, false);
    port_unref(port);
}

struct port *port_new(struct loop *loop)
{
    struct port *port = mem_zalloc(sizeof(*port));

    atomic_init(&port->refs, 1);
    pthread_mutex_init(&port->lock, NULL);
    port->loop = loop;
    list_init(&port->items);
    list_init(&port->task.link);
    port->task.run = empty;
    return port;
}

struct port *port_ref(struct port *port)
{
    atomic_fetch_add_explicit(&port->refs, 1, memory_order_relaxed);
    return port;
}

void port_unref(struct port *port)
{
    unsigned before = atomic_fetch_sub_explicit(&port->refs, 1, memory_order_acq_rel);

    assert(before > 0);
    if (before > 1)
        return;
    pthread_mutex_destroy(&port->lock);
    free(port);
}

bool port_put(struct port *port, struct port_item *item)
{
    pthread_mutex_lock(&port->lock);
    bool open = port->loop != NULL;
    if (open) {
        list_push(&port->items, &item->link);
        if (!port->posted) {
            port->posted = true;
            (void)port_ref(port);
            /* Under the lock: once it is given back the loop may be closing. */
            loop_post(port->loop, &port->task);
        }
    }
    pthread_mutex_unlock(&port->lock);
    return open;
}

void port_close(struct port *port)
{
    struct list items;

    list_init(&items);
    pthread_mutex_lock(&port->lock);
    port->loop = NULL;
    list_splice(&items, &port->items);
    pthread_mutex_unlock(&port->lock);
    run_items(&items, true);
    port_unref(port);
}
