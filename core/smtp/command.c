/* SPDX-License-Identifier: Apache-2.0 */
/*
 * command.c - one command line into verb and argument.
 *
 * More liberal than the grammar in two things that real clients do: blanks and tabs at the end
 * (RFC 5321 4.1.1 asks for it), and several blanks between words. Octets above 127 pass: whether
 * they may stand there is for the verb to say (RFC 6531). Controls never pass: a lone CR or LF in
 * a line that one server takes for one command and another for two is how mail is smuggled.
 */
#include "smtp/command.h"

#include <assert.h>

enum arg_rule { NONE, MAY, MUST };

static const struct {
    struct slice text;
    enum arg_rule arg;
} verbs[SMTP_VERB_COUNT] = {
    [SMTP_VERB_EHLO] = { SLICE("EHLO"), MUST },        [SMTP_VERB_HELO] = { SLICE("HELO"), MUST },
    [SMTP_VERB_LHLO] = { SLICE("LHLO"), MUST },
    [SMTP_VERB_MAIL] = { SLICE("MAIL"), MUST },        [SMTP_VERB_RCPT] = { SLICE("RCPT"), MUST },
    [SMTP_VERB_DATA] = { SLICE("DATA"), NONE },        [SMTP_VERB_RSET] = { SLICE("RSET"), NONE },
    [SMTP_VERB_NOOP] = { SLICE("NOOP"), MAY },         [SMTP_VERB_QUIT] = { SLICE("QUIT"), NONE },
    [SMTP_VERB_VRFY] = { SLICE("VRFY"), MUST },        [SMTP_VERB_HELP] = { SLICE("HELP"), MAY },
    [SMTP_VERB_EXPN] = { SLICE("EXPN"), MUST },        [SMTP_VERB_AUTH] = { SLICE("AUTH"), MUST },
    [SMTP_VERB_STARTTLS] = { SLICE("STARTTLS"), NONE }, [SMTP_VERB_BDAT] = { SLICE("BDAT"), MAY },
    [SMTP_VERB_XCLIENT] = { SLICE("XCLIENT"), MAY },   [SMTP_VERB_XFORWARD] = { SLICE("XFORWARD"), MAY },
    [SMTP_VERB_ETRN] = { SLICE("ETRN"), MUST },
};

static bool has_control(struct slice line)
{
    for (size_t i = 0; i < line.len; i++)
        if ((unsigned char)line.ptr[i] < 0x20 || line.ptr[i] == 0x7f)
            return true;
    return false;
}

static struct slice trim_right(struct slice s)
{
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

enum smtp_parse smtp_command_parse(struct slice line, struct smtp_command *ret)
{
    line = trim_right(line);
    if (has_control(line))
        return SMTP_PARSE_BAD_OCTET;
    ptrdiff_t space = slice_find(line, ' ');
    size_t word_len = space >= 0 ? (size_t)space : line.len;
    struct slice word = slice_head(line, word_len);
    struct slice arg = slice_trim(slice_from(line, word_len));

    for (int verb = 0; verb < SMTP_VERB_COUNT; verb++) {
        if (!slice_equal_nocase(word, verbs[verb].text))
            continue;
        *ret = (struct smtp_command){ .verb = (enum smtp_verb)verb, .arg = arg };
        if ((verbs[verb].arg == NONE && arg.len > 0) || (verbs[verb].arg == MUST && arg.len == 0))
            return SMTP_PARSE_BAD_ARG;
        return SMTP_PARSE_OK;
    }
    return SMTP_PARSE_UNKNOWN;
}

const char *smtp_verb_name(enum smtp_verb verb)
{
    assert(verb < SMTP_VERB_COUNT);
    return verbs[verb].text.ptr;
}

bool smtp_command_after(struct slice arg, struct slice word, struct slice *ret)
{
    if (!slice_starts_nocase(arg, word))
        return false;
    *ret = slice_trim(slice_from(arg, word.len));
    return true;
}
