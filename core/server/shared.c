/* SPDX-License-Identifier: Apache-2.0 */
#include "server/shared.h"

#include <string.h>
#include <sys/mman.h>

struct shared_page *shared_page_new(void)
{
    void *p = mmap(NULL, sizeof(struct shared_page), PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    return p != MAP_FAILED ? p : NULL;
}

void shared_page_use(struct shared_page *page)
{
    uint32_t n = atomic_fetch_add(&page->slots_used, 1);

    if (n < SHARED_THREADS_MAX)
        crash_slot_use(&page->slots[n]);
}

void shared_page_clear(struct shared_page *page)
{
    memset(page, 0, sizeof(*page));
}
