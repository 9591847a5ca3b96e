/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmarc_report_budget.c - the memory of the XML parser, counted.
 *
 * Expat keeps each name of an element, an attribute and a namespace's prefix until its end, and a tag until that has
 * come whole; when it calls us, and what it tells, differs by version. What it may hold is bounded where all of that
 * comes by: where it asks for memory.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "dmarc_report_private.h"

/* In front of what expat gets. */
union head {
    size_t octets;
    max_align_t align;
};

/* Expat's functions get no argument; a report is read by one thread, from its parser's birth to its end. */
static _Thread_local struct {
    uint64_t left;
    bool spent;
} budget;

static void *get(size_t octets)
{
    union head *head = NULL;

    if (octets > budget.left || sizeof(*head) > budget.left - octets)
        budget.spent = true;
    else
        head = malloc(sizeof(*head) + octets);
    if (head == NULL)
        return NULL;
    budget.left -= sizeof(*head) + octets;
    head->octets = octets;
    return head + 1;
}

static void release(void *memory)
{
    union head *head = memory;

    if (head == NULL)
        return;
    head--;
    budget.left += sizeof(*head) + head->octets;
    free(head);
}

/* Both are there while it is copied, and both count. */
static void *resize(void *memory, size_t octets)
{
    const union head *head = memory;
    void *copy = get(octets);

    if (copy == NULL || memory == NULL)
        return copy;
    head--;
    memcpy(copy, memory, head->octets < octets ? head->octets : octets);
    release(memory);
    return copy;
}

const XML_Memory_Handling_Suite *dmarc_report_budget(uint64_t octets)
{
    static const XML_Memory_Handling_Suite suite = { get, resize, release };

    budget.left = octets;
    budget.spent = false;
    return &suite;
}

bool dmarc_report_budget_spent(void)
{
    return budget.spent;
}
