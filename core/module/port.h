/* SPDX-License-Identifier: Apache-2.0 */
/*
 * port.h - where other threads put what an engine shall do on its loop.
 *
 * It outlives the engine for as long as a pool thread or a module's own thread may still
 * come with a late answer; such an answer finds the port closed and is dropped.
 */
#ifndef TERN_MODULE_PORT_H
#define TERN_MODULE_PORT_H

#include <stdbool.h>

#include "base/list.h"
#include "net/loop.h"

struct port;

/* Put in once at a time. `run` is called on the loop, or with gone = true by whom closes the
 * port. */
struct port_item {
    struct list link;
    void (*run)(struct port_item *item, bool gone);
};

struct port *port_new(struct loop *loop);
struct port *port_ref(struct port *port);
void port_unref(struct port *port);
/* Hands over; false if the port is closed: nothing happens. Any thread. */
bool port_put(struct port *port, struct port_item *item);
/* Runs what is left with gone = true; from now on port_put() is false. Loop thread. */
void port_close(struct port *port);

#endif
