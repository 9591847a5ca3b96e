/* SPDX-License-Identifier: Apache-2.0 */
/*
 * facts.c - what the policy sees of a stored message: the transaction and the session it came by,
 * rebuilt from the envelope in the message's memory.
 */
#include "delivery/internal.h"
#include "mime/address.h"

static tern_str text_of(struct message *m, struct slice s)
{
    return tern_str_dup(&m->memory->arena, s);
}

/* What is stored was an address once; if today's grammar refuses it, it is cut at the last @. */
static struct tern_mailbox mailbox_of(struct message *m, struct slice address)
{
    struct tern_mailbox mailbox = { TERN_STR(""), TERN_STR(""), TERN_STR("") };
    const char *at = address.len > 0 ? memrchr(address.ptr, '@', address.len) : NULL;

    if (address.len == 0 || address_parse(address, ADDRESS_SMTPUTF8 | ADDRESS_ALLOW_ANY_LOCAL,
                                          &m->memory->arena, &mailbox) == 0)
        return mailbox;
    size_t local = at != NULL ? (size_t)(at - address.ptr) : address.len;
    mailbox.address = text_of(m, address);
    mailbox.local = text_of(m, slice_head(address, local));
    mailbox.domain = text_of(m, slice_from(address, local + 1));
    return mailbox;
}

static const struct note *tags_of(struct message *m, const struct slice *tags, unsigned count)
{
    const struct note *first = NULL;

    for (unsigned i = 0; i < count; i++)
        first = notes_add(&m->memory->arena, first, tags[i], SLICE("true"));
    return first;
}

static void add_rcpt(struct message *m, struct txn_facts *txn, const struct envelope_rcpt *from)
{
    struct rcpt_facts *rcpt = ARENA_NEW(&m->memory->arena, struct rcpt_facts);

    rcpt->view.mailbox = mailbox_of(m, from->address);
    rcpt->view.original = slice_equal(from->original, from->address) || from->original.len == 0
                              ? rcpt->view.mailbox
                              : mailbox_of(m, from->original);
    rcpt->view.class_ = from->class_;
    rcpt->view.claimed_by = text_of(m, from->claimed_by);
    rcpt->tags = tags_of(m, from->tags, from->tag_count);
    rcpt->orcpt = text_of(m, from->orcpt);
    rcpt->notify = text_of(m, from->notify);
    txn_facts_add_rcpt(txn, rcpt);
}

struct txn_facts *delivery_txn_facts(struct message *m)
{
    const struct envelope *e = &m->envelope;
    struct txn_facts *txn = m->txn;

    txn->id = text_of(m, slice_cstr(m->id));
    txn->sender = mailbox_of(m, e->sender);
    txn->sender_original = slice_equal(e->sender, e->sender_original)
                               ? txn->sender
                               : mailbox_of(m, e->sender_original);
    txn->body = (enum body_type)e->body;
    txn->smtputf8 = e->smtputf8;
    txn->envid = text_of(m, e->envid);
    txn->ret = text_of(m, e->ret);
    txn->tags = tags_of(m, e->tags, e->tag_count);
    for (unsigned i = 0; i < e->var_count; i++)
        txn->vars = notes_add(&m->memory->arena, txn->vars, e->vars[i].name, e->vars[i].value);
    for (unsigned i = 0; i < e->rcpt_count; i++)
        add_rcpt(m, txn, &e->rcpts[i]);
    return txn;
}

struct session_facts *delivery_session_facts(struct message *m)
{
    const struct envelope *e = &m->envelope;
    struct session_facts *session = session_facts_new();

    shared_arena_unref(session->memory);
    session->memory = shared_arena_ref(m->memory);
    session->id = text_of(m, slice_make(NULL, 0));
    session->client_text = text_of(m, e->client_address);
    (void)net_address_parse(e->client_address, 0, &session->client);
    session->listener = text_of(m, e->listener);
    session->policy = text_of(m, e->policy);
    session->helo = text_of(m, e->helo);
    session->user = text_of(m, e->user);
    return session;
}
