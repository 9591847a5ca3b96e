/* SPDX-License-Identifier: Apache-2.0 */
#include "config/paths.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

static _Thread_local struct config_paths *collected;

void config_paths_collect(struct config_paths *paths)
{
    collected = paths;
}

void config_paths_add(const char *path, bool written)
{
    struct config_paths *p = collected;

    if (p == NULL || p->count == CONFIG_PATHS_MAX)
        return;
    if (p->count == p->size) {
        p->size = p->size > 0 ? p->size * 2 : 16;
        p->items = mem_realloc(p->items, p->size * sizeof(p->items[0]));
    }
    p->items[p->count++] = (struct config_path){ mem_strdup(path), written };
}

void config_paths_free(struct config_paths *p)
{
    for (size_t i = 0; i < p->count; i++)
        free(p->items[i].path);
    free(p->items);
    *p = (struct config_paths){ NULL, 0, 0 };
}
