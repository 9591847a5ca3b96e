/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_params.c - ESMTP parameters: they come out one by one and end; a fault leaves the result
 * alone.
 */
#include <assert.h>

#include "smtp/params.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned extensions = size > 0 ? data[0] : 0;
    struct slice all = slice_make((const char *)data + (size > 0), size - (size > 0)), rest = all;
    struct smtp_param p;
    struct smtp_mail_options o = { .size = 42 };
    enum smtp_params r;
    size_t before = rest.len + 1;

    while ((r = smtp_params_next(&rest, &p)) == SMTP_PARAMS_ONE) {
        assert(rest.len < before);
        assert(p.keyword.len > 0 && p.has_value == (p.value.len > 0));
        before = rest.len;
    }
    enum smtp_param_fault fault = smtp_params_mail(all, extensions, &o);
    assert(fault != SMTP_PARAM_OK || r == SMTP_PARAMS_END);
    assert(fault == SMTP_PARAM_OK || (o.size == 42 && !o.smtputf8 && o.body == BODY_7BIT));
    assert(!o.smtputf8 || (extensions & SMTP_EXT_SMTPUTF8) != 0);
    assert(o.body != BODY_8BITMIME || (extensions & SMTP_EXT_8BITMIME) != 0);
    assert(o.body != BODY_BINARYMIME || (extensions & SMTP_EXT_BINARYMIME) != 0);
    struct smtp_rcpt_options rcpt = { SLICE("none"), SLICE("none") };
    fault = smtp_params_rcpt(all, extensions, &rcpt);
    assert(fault != SMTP_PARAM_OK || r == SMTP_PARAMS_END);
    assert(fault == SMTP_PARAM_OK || slice_equal(rcpt.orcpt, SLICE("none")));
    assert(fault != SMTP_PARAM_OK || (rcpt.orcpt.len <= SMTP_ORCPT_OCTETS_MAX && rcpt.notify.len <= 21));
    return 0;
}
