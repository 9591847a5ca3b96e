/* SPDX-License-Identifier: Apache-2.0 */
#include "module/crash.h"

#include <stddef.h>

static _Thread_local struct crash_slot *slot;

void crash_slot_use(struct crash_slot *mine)
{
    slot = mine;
    crash_slot_clear();
}

static void put(char *to, size_t size, struct slice text)
{
    size_t len = text.len < size ? text.len : size - 1;

    if (len > 0)
        memcpy(to, text.ptr, len);
    to[len] = '\0';
}

void crash_slot_set(const char *hook, struct slice step, struct slice id)
{
    if (slot == NULL)
        return;
    put(slot->id, sizeof(slot->id), id);
    put(slot->step, sizeof(slot->step), step);
    put(slot->hook, sizeof(slot->hook),
        slice_cstr(hook)); /* last: it says that the rest is there */
}

void crash_slot_clear(void)
{
    if (slot != NULL)
        slot->hook[0] = '\0';
}
