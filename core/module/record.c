/* SPDX-License-Identifier: Apache-2.0 */
/*
 * record.c - gathers entries as lines of JSON while a chain runs, and puts them into one object.
 *
 * Built by hand: it is on the path of every message. What a client chose is cut
 * before it is escaped, so that the bound holds whatever it sends.
 */
#include "module/record.h"

#include "base/clock.h"
#include "base/log.h"
#include "module/descriptor.h"

#define WORD_OCTETS_MAX  256  /* of a name or address in the record, before escaping */
#define TAIL_OCTETS      96   /* room for what follows the entries */
#define RCPTS_OCTETS_MAX 4096 /* of the list "to" */
#define RECORD_OCTETS_GUESSED 1000 /* what that of a usual message needs */

void record_init(struct record *r)
{
    *r = (struct record){ .wall_ms = clock_wall_ms() };
}

void record_fini(struct record *r)
{
    buf_free(&r->steps);
    buf_free(&r->refused);
    buf_free(&r->last_reply);
}

static void add_key(struct buf *out, const char *key)
{
    buf_add_cstr(out, ",\"");
    buf_add_cstr(out, key);
    buf_add_cstr(out, "\":");
}

static void begin_word(struct buf *out, const char *key)
{
    add_key(out, key);
    buf_add_char(out, '"');
}

/* "250 2.0.0 Ok" */
static void print_reply(struct buf *out, unsigned code, const char *enhanced, struct slice text)
{
    buf_add_uint(out, code);
    buf_add_char(out, ' ');
    buf_add_cstr(out, enhanced != NULL ? enhanced : "");
    buf_add_char(out, ' ');
    buf_add(out, slice_head(text, 2 * WORD_OCTETS_MAX));
}

static void add_word(struct buf *out, const char *key, struct slice value)
{
    if (value.len == 0)
        return;
    add_key(out, key);
    buf_add_json(out, slice_head(value, WORD_OCTETS_MAX));
}

static void add_reply(struct buf *out, const char *key, unsigned code, const char *enhanced,
                      struct slice text)
{
    if (code == 0)
        return;
    begin_word(out, key);
    buf_add_uint(out, code);
    buf_add_char(out, ' ');
    buf_add_escaped(out, slice_cstr(enhanced != NULL ? enhanced : ""));
    buf_add_char(out, ' ');
    buf_add_escaped(out, slice_head(text, 2 * WORD_OCTETS_MAX));
    buf_add_char(out, '"');
}

static void add_step(struct buf *out, const struct plan_step *step)
{
    if (step == NULL) {
        buf_add_cstr(out, ",\"step\":\"tern\"");
        return;
    }
    add_word(out, "step", slice_of(step->step->name));
    if (step->step->place.file == NULL)
        return;
    begin_word(out, "at");
    buf_add_escaped(out, slice_head(slice_cstr(step->step->place.file), 2 * WORD_OCTETS_MAX));
    buf_add_char(out, ':');
    buf_add_uint(out, step->step->place.line);
    buf_add_char(out, '"');
}

static void add_inputs(struct buf *out, struct slice printed)
{
    if (printed.len == 0)
        return;
    buf_add_cstr(out, ",\"inputs\":{");
    buf_add(out, printed);
    buf_add_char(out, '}');
}

/* A step that failed did nothing, but may have said why. */
static void add_journal(struct buf *out, const struct journal *j, tern_verdict verdict)
{
    if (j == NULL)
        return;
    size_t before = out->len;
    buf_add_cstr(out, ",\"did\":");
    if (verdict == TERN_ERROR || !journal_print(j, out))
        buf_cut(out, before);
    before = out->len;
    buf_add_cstr(out, ",\"inputs\":{");
    if (journal_print_notes(j, out))
        buf_add_char(out, '}');
    else
        buf_cut(out, before);
}

/* Whether a NEXT is worth a line of its own. */
bool record_is_telling(const struct record_entry *e)
{
    const struct journal *j = e->journal;

    if (e->verdict != TERN_NEXT || e->error != NULL || e->code != 0)
        return true;
    if (j == NULL)
        return false;
    if (j->claim != TERN_CLASS_NONE || (e->shadow && j->count > 0))
        return true;
    for (const struct journal_item *i = j->first; i != NULL; i = i->next)
        if (i->kind == JOURNAL_NOTE)
            return true;
    return false;
}

static void print_entry(const struct record_entry *e, struct buf *out)
{
    buf_add_cstr(out, "{\"hook\":\"");
    buf_add_cstr(out, descriptor_hook_name(e->point));
    buf_add_char(out, '"');
    add_step(out, e->step);
    add_word(out, "rcpt", e->rcpt);
    add_word(out, "verdict", slice_cstr(descriptor_verdict_name(e->verdict)));
    add_reply(out, "reply", e->code, e->enhanced, e->text);
    if (e->code == 0)
        add_word(out, "reason", e->text); /* of a hold */
    if (e->kept_from != NULL)
        add_word(out, "kept_from", slice_cstr(e->kept_from));
    if (e->error != NULL)
        add_word(out, "error", slice_cstr(e->error));
    if (e->shadow)
        buf_add_cstr(out, ",\"shadow\":true");
    add_key(out, "us");
    buf_add_uint(out, e->us);
    add_journal(out, e->journal, e->verdict);
    add_inputs(out, e->inputs);
    buf_add_cstr(out, "}\n");
}

void record_step(struct record *r, const struct record_entry *entry)
{
    if (!record_is_telling(entry)) {
        r->next++;
        return;
    }
    if (r->truncated)
        return;
    size_t before = r->steps.len;
    if (before == 0)
        (void)buf_reserve(&r->steps, RECORD_OCTETS_GUESSED);
    print_entry(entry, &r->steps);
    if (r->steps.len <= RECORD_OCTETS_MAX)
        return;
    r->steps.len = before;
    r->truncated = true;
}

void record_reply(struct record *r, unsigned code, const char *enhanced, struct slice text)
{
    r->last_code = code;
    buf_clear(&r->last_reply);
    if (code != 0)
        print_reply(&r->last_reply, code, enhanced, text);
}

void record_refused(struct record *r, struct slice rcpt, unsigned code, const char *enhanced, struct slice text)
{
    size_t before = r->refused.len;

    if (r->truncated)
        return;
    buf_add_cstr(&r->refused, "{\"to\":");
    buf_add_json(&r->refused, slice_head(rcpt, WORD_OCTETS_MAX));
    add_reply(&r->refused, "reply", code, enhanced, text);
    buf_add_cstr(&r->refused, "}\n");
    if (r->refused.len <= RCPTS_OCTETS_MAX)
        return;
    r->refused.len = before;
    r->truncated = true;
}

/* ---- writing ---- */

static void begin(struct buf *out, const char *type, struct slice id, const struct record *r)
{
    char when[CLOCK_TEXT_SIZE];

    (void)buf_reserve(out, RECORD_OCTETS_GUESSED + r->steps.len);
    buf_add_cstr(out, "{\"type\":\"");
    buf_add_cstr(out, type);
    buf_add_cstr(out, "\",\"id\":");
    buf_add_json(out, slice_head(id, WORD_OCTETS_MAX));
    clock_print(when, r->wall_ms);
    add_word(out, "time", slice_cstr(when));
}

static void add_session(struct buf *out, const struct session_facts *s)
{
    if (s == NULL)
        return;
    add_word(out, "client", slice_of(s->client_text));
    if (s->relayed->via.len > 0)
        add_word(out, "via", slice_of(s->relayed->via));
    if (s->relayed->client_name.len > 0)
        add_word(out, "client_name", slice_of(s->relayed->client_name));
    add_word(out, "listener", slice_of(s->listener));
    add_word(out, "policy", slice_of(s->policy));
    add_word(out, "helo", slice_of(s->helo));
    add_word(out, "user", slice_of(s->user));
    add_word(out, "tls", slice_of(s->handshake->version));
    add_word(out, "tls_cipher", slice_of(s->handshake->cipher));
    add_word(out, "tls_sni", slice_of(s->handshake->sni));
    add_word(out, "tls_client", slice_of(s->handshake->client));
}

/* False if not all of them fit. */
static bool add_rcpts(struct buf *out, const struct txn_facts *txn)
{
    size_t limit = out->len + RCPTS_OCTETS_MAX;
    bool fits = true;

    buf_add_cstr(out, ",\"to\":[");
    for (unsigned i = 0; i < txn->rcpt_count && fits; i++) {
        size_t before = out->len;
        if (i > 0)
            buf_add_char(out, ',');
        buf_add_json(out,
                     slice_head(slice_of(txn->rcpts[i]->view.mailbox.address), WORD_OCTETS_MAX));
        fits = out->len <= limit;
        if (!fits)
            out->len = before;
    }
    buf_add_char(out, ']');
    return fits;
}

/* Lines as members of a list, as many as fit; false if one did not. */
static bool add_lines(struct buf *out, const char *key, struct slice lines)
{
    bool first = true;

    add_key(out, key);
    buf_add_char(out, '[');
    while (lines.len > 0) {
        ptrdiff_t end = slice_find(lines, '\n');
        struct slice line = slice_head(lines, (size_t)end);
        if (out->len + line.len + TAIL_OCTETS > RECORD_OCTETS_MAX) {
            buf_add_char(out, ']');
            return false;
        }
        if (!first)
            buf_add_char(out, ',');
        buf_add(out, line);
        lines = slice_from(lines, (size_t)end + 1);
        first = false;
    }
    buf_add_char(out, ']');
    return true;
}

static void finish(struct record *r, struct buf *out, bool fits)
{
    (void)buf_reserve(out, r->steps.len + TAIL_OCTETS);
    if (!add_lines(out, "steps", buf_slice(&r->steps)))
        fits = false;
    add_key(out, "next");
    buf_add_uint(out, r->next);
    if (!fits || r->truncated)
        buf_add_cstr(out, ",\"truncated\":true");
    buf_add_char(out, '}');
    log_decision(r->wall_ms, out);
    buf_free(out);
}

void record_write_session(struct record *r, const struct session_facts *session)
{
    struct buf out = BUF_INIT;

    begin(&out, "session", slice_of(session->id), r);
    add_session(&out, session);
    finish(r, &out, true);
}

void record_write_txn(struct record *r, const struct session_facts *session,
                      const struct txn_facts *txn, struct slice stored_id, unsigned reply_code)
{
    struct buf out = BUF_INIT;

    begin(&out, "transaction", slice_of(txn->id), r);
    add_word(&out, "session", slice_of(session->id));
    add_session(&out, session);
    if (txn->forwarded.len > 0)
        add_word(&out, "forwarded", slice_of(txn->forwarded));
    buf_add_cstr(&out, ",\"from\":");
    buf_add_json(&out, slice_head(slice_of(txn->sender.address), WORD_OCTETS_MAX));
    bool fits = add_rcpts(&out, txn);
    if (reply_code != 0 && reply_code == r->last_code)
        add_word(&out, "reply", buf_slice(&r->last_reply));
    else if (reply_code != 0)
        buf_printf(&out, ",\"reply\":\"%u\"", reply_code);
    add_word(&out, "stored", stored_id);
    if (r->refused.len > 0)
        fits &= add_lines(&out, "refused", buf_slice(&r->refused));
    finish(r, &out, fits);
}

void record_write_delivery(struct record *r, const struct session_facts *session,
                           const struct txn_facts *txn, struct slice outcomes)
{
    struct buf out = BUF_INIT;

    begin(&out, "delivery", slice_of(txn->id), r);
    if (session != NULL)
        add_word(&out, "policy", slice_of(session->policy));
    buf_add_cstr(&out, ",\"from\":");
    buf_add_json(&out, slice_head(slice_of(txn->sender.address), WORD_OCTETS_MAX));
    bool fits = add_lines(&out, "outcomes", outcomes);
    finish(r, &out, fits);
}
