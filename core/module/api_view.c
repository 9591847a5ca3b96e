/* SPDX-License-Identifier: Apache-2.0 */
/*
 * api_view.c - what a step may read. Never fails: what is not there is empty, 0 or NULL.
 *
 * The thread that holds the call; facts are immutable, so no lock is needed.
 */
#include "base/clock.h"
#include "module/api.h"
#include "module/call.h"
#include "module/header_edit.h"

static const tern_str empty = { "", 0 };

static tern_str text(tern_str s)
{
    return s.ptr != NULL ? s : empty;
}

/* ---- session ---- */

const tern_address *api_client_address(const tern_call *call)
{
    return call->view.session != NULL ? &call->view.session->client : NULL;
}

tern_str api_client_address_text(const tern_call *call)
{
    return call->view.session != NULL ? text(call->view.session->client_text) : empty;
}

tern_str api_session_id(const tern_call *call)
{
    return call->view.session != NULL ? text(call->view.session->id) : empty;
}

tern_str api_listener_name(const tern_call *call)
{
    return call->view.session != NULL ? text(call->view.session->listener) : empty;
}

tern_str api_policy_name(const tern_call *call)
{
    return call->view.session != NULL ? text(call->view.session->policy) : empty;
}

tern_str api_helo_name(const tern_call *call)
{
    return call->view.session != NULL ? text(call->view.session->helo) : empty;
}

tern_str api_user(const tern_call *call)
{
    return call->view.session != NULL ? text(call->view.session->user) : empty;
}

bool api_is_esmtp(const tern_call *call)
{
    return call->view.session != NULL && call->view.session->esmtp;
}

bool api_is_tls(const tern_call *call)
{
    return call->view.session != NULL && call->view.session->tls;
}

tern_str api_tls_version(const tern_call *call)
{
    return call->view.session != NULL ? text(call->view.session->handshake->version) : empty;
}

tern_str api_tls_cipher(const tern_call *call)
{
    return call->view.session != NULL ? text(call->view.session->handshake->cipher) : empty;
}

tern_str api_tls_sni(const tern_call *call)
{
    return call->view.session != NULL ? text(call->view.session->handshake->sni) : empty;
}

tern_str api_tls_client(const tern_call *call)
{
    return call->view.session != NULL ? text(call->view.session->handshake->client) : empty;
}

tern_str api_tls_subject(const tern_call *call)
{
    return call->view.session != NULL ? text(call->view.session->handshake->subject) : empty;
}

tern_str api_tls_fingerprint(const tern_call *call)
{
    return call->view.session != NULL ? text(call->view.session->handshake->fingerprint) : empty;
}

tern_str api_tls_error(const tern_call *call)
{
    return call->view.session != NULL ? text(call->view.session->handshake->error) : empty;
}

/* ---- transaction ---- */

tern_str api_queue_id(const tern_call *call)
{
    return call->view.txn != NULL ? text(call->view.txn->id) : empty;
}

const struct tern_mailbox *api_sender(const tern_call *call)
{
    return call->view.txn != NULL ? &call->view.txn->sender : NULL;
}

const struct tern_mailbox *api_sender_original(const tern_call *call)
{
    return call->view.txn != NULL ? &call->view.txn->sender_original : NULL;
}

bool api_is_smtputf8(const tern_call *call)
{
    return call->view.txn != NULL && call->view.txn->smtputf8;
}

uint64_t api_declared_size(const tern_call *call)
{
    return call->view.txn != NULL ? call->view.txn->declared_octets : 0;
}

unsigned api_rcpt_count(const tern_call *call)
{
    return call->view.txn != NULL ? call->view.txn->rcpt_count : 0;
}

const struct tern_recipient *api_rcpt(const tern_call *call, unsigned index)
{
    return index < api_rcpt_count(call) ? &call->view.txn->rcpts[index]->view : NULL;
}

const struct tern_recipient *api_current_rcpt(const tern_call *call)
{
    return call->view.current != NULL ? &call->view.current->view : NULL;
}

/* ---- message ---- */

uint64_t api_message_octets(const tern_call *call)
{
    return call->view.message != NULL ? message_octets(call->view.message) : 0;
}

unsigned api_header_count(const tern_call *call)
{
    return call->view.message != NULL ? message_head_count(call->view.message) : 0;
}

const struct tern_header *api_header_at(const tern_call *call, unsigned index)
{
    return call->view.message != NULL ? message_head_at(call->view.message, index) : NULL;
}

const struct tern_header *api_header(const tern_call *call, const char *name, unsigned nth)
{
    if (call->view.message == NULL || name == NULL)
        return NULL;
    return message_head_find(call->view.message, slice_cstr(name), nth);
}

int64_t api_body_read(const tern_call *call, uint64_t offset, void *buffer, size_t octets)
{
    if (call->view.message == NULL)
        return -EPERM;
    return message_body_read(call->view.message, offset, buffer, octets);
}

uint64_t api_body_octets(const tern_call *call)
{
    return call->view.message != NULL ? message_body_octets(call->view.message) : 0;
}

int api_header_octets(const tern_call *call, bool original, tern_str *ret)
{
    struct slice header = { NULL, 0 };

    if (call->view.message == NULL)
        return -EPERM;
    int r = message_head_header(call->view.message, original, &header);
    if (r == 0)
        *ret = (tern_str){ header.ptr != NULL ? header.ptr : "", header.len };
    return r;
}

unsigned api_part_count(tern_call *call)
{
    return call->view.message != NULL ? message_part_count(call->view.message) : 0;
}

const struct tern_part *api_part(tern_call *call, unsigned index)
{
    return call->view.message != NULL ? message_part(call->view.message, index) : NULL;
}

/* ---- notes: the transaction's before the session's ---- */

static tern_str noted(const struct note *of_txn, const struct note *of_session, const char *name,
                      tern_str otherwise)
{
    struct slice key = slice_cstr(name);
    tern_str value = notes_get(of_txn, key);

    if (value.ptr == NULL)
        value = notes_get(of_session, key);
    return value.ptr != NULL ? value : otherwise;
}

tern_str api_result(const tern_call *call, const char *name)
{
    return noted(call->view.txn != NULL ? call->view.txn->results : NULL,
                 call->view.session != NULL ? call->view.session->results : NULL, name,
                 TERN_STR("not_run"));
}

bool api_has_tag(const tern_call *call, const char *name)
{
    if (notes_get(call->view.tags, slice_cstr(name)).ptr != NULL)
        return true;
    return noted(call->view.txn != NULL ? call->view.txn->tags : NULL,
                 call->view.session != NULL ? call->view.session->tags : NULL, name,
                 (tern_str){ NULL, 0 })
               .ptr != NULL;
}

tern_str api_var(const tern_call *call, const char *name)
{
    return noted(call->view.txn != NULL ? call->view.txn->vars : NULL,
                 call->view.session != NULL ? call->view.session->vars : NULL, name, empty);
}

tern_str api_outcome(const tern_call *call)
{
    return text(call->view.outcome);
}

tern_str api_outcome_text(const tern_call *call)
{
    return text(call->view.outcome_text);
}

/* ---- the call ---- */

bool api_is_rehearsal(const tern_call *call)
{
    return call->shadow || clock_is_virtual();
}
