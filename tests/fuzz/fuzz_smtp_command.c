/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_smtp_command.c - a command line: what parses has no control in it and lies inside the
 * line.
 */
#include <assert.h>

#include "smtp/command.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice line = slice_make((const char *)data, size), after;
    struct smtp_command c = { .verb = SMTP_VERB_COUNT };
    enum smtp_parse r = smtp_command_parse(line, &c);

    assert((c.verb < SMTP_VERB_COUNT) == (r == SMTP_PARSE_OK || r == SMTP_PARSE_BAD_ARG));
    if (r != SMTP_PARSE_OK)
        return 0;
    assert(slice_starts_nocase(line, slice_cstr(smtp_verb_name(c.verb))));
    assert(c.arg.len == 0 ||
           (c.arg.ptr > line.ptr && c.arg.ptr + c.arg.len <= line.ptr + line.len));
    for (size_t i = 0; i < c.arg.len; i++)
        assert((unsigned char)c.arg.ptr[i] >= 0x20 && c.arg.ptr[i] != 0x7f);
    if (smtp_command_after(c.arg, SLICE("FROM:"), &after))
        assert(after.len + 5 <= c.arg.len);
    return 0;
}
