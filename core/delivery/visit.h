/* SPDX-License-Identifier: Apache-2.0 */
/* visit.h - how many recipients of a message are routed in one visit. Inside delivery/ only. */
#ifndef TERN_DELIVERY_VISIT_H
#define TERN_DELIVERY_VISIT_H

#include "delivery/internal.h"

/* Of a list that is so long that it would take more visits: a share. Each visit reads all of the list, so that the cost
 * of many small ones would rise with the square of it. */
#define VISITS_MAX 16

/* `rcpt_count`: of the message, pending or not, so that windows do not move while it shrinks. */
static inline uint32_t visit_rcpts(uint32_t rcpt_count)
{
    uint32_t share = rcpt_count / VISITS_MAX + 1;

    return share > VISIT_RCPTS_MAX ? share : VISIT_RCPTS_MAX;
}

#endif
