/* SPDX-License-Identifier: Apache-2.0 */
/*
 * session.h - the server's half of an SMTP session: octets in, replies out, questions up.
 *
 * No socket, timer, policy or spool in here: the owner feeds octets and hands in a struct of
 * functions. A question (connect, ehlo, mail ...) is answered by smtp_session_answer(), from inside
 * the call or later; until then nothing further is parsed, so pipelined commands cannot
 * overtake it.
 */
#ifndef TERN_SMTP_SESSION_H
#define TERN_SMTP_SESSION_H

#include <tern/module.h>

#include "base/buf.h"
#include "base/slice.h"
#include "smtp/xclient.h"
#include "state/facts.h"

struct smtp_session;

/* What was decided. code 0: go on (the session makes its own positive reply). */
struct smtp_answer {
    unsigned code;        /* 0, 2xx, 4xx, 5xx; 421 closes */
    const char *enhanced; /* "5.7.1"; copied */
    struct slice text;    /* one line, copied; \n begins another in an answer to on_vrfy */
    /*
     * on_message, where each recipient gets a reply of its own (LMTP, PRDR): one for each RCPT that was
     * accepted, in their order. None: all get this one.
     */
    const struct smtp_answer *rcpts;
    unsigned rcpt_count;
};

/* Limits; each is a config key, its RFC source stands there (conf reference). */
struct smtp_limits {
    uint32_t command_line_octets; /* RFC 5321 4.5.3.1.4: 512 at least; default 2048 */
    uint32_t data_line_octets;    /* default 65536 */
    uint64_t message_octets;      /* SIZE; default 50 MB; 0: no bound */
    uint32_t rcpts;               /* RFC 5321 4.5.3.1.8: 100 at least; default 1000 */
    uint32_t messages;            /* transactions a session, then 421; 0: no bound */
    uint32_t errors;              /* 5xx replies; the one above is 421; default 20 */
    uint32_t errors_free;         /* the first that is followed by a pause comes behind so many */
    uint32_t error_delay_ms;      /* its length; the next ones grow, see SMTP_PAUSES_MAX; 0: none */
    /* Commands since the last message, accepted MAIL, RCPT and DATA not counted (NOOP, RSET, VRFY
     * ...), then 421; default 1000. */
    uint32_t commands;
    uint32_t received_fields; /* default 100; more: 554 5.4.6 */
};

struct smtp_mail_params {
    struct tern_mailbox sender;
    uint64_t size;
    enum body_type body;
    bool smtputf8;
    struct slice envid, ret; /* RFC 3461: xtext; FULL or HDRS; or empty */
    bool each; /* a reply for each recipient at the end of the data: LMTP, or PRDR was said */
};

/* What the client is expected to send next; decides the time-out. */
enum smtp_phase {
    SMTP_PHASE_COMMAND,
    SMTP_PHASE_DATA_START,
    SMTP_PHASE_DATA_BLOCK,
    SMTP_PHASE_ANSWER,
    SMTP_PHASE_LINE, /* the rest of a command line */
    SMTP_PHASE_TLS, /* a handshake */
};

/* What a session knows of TLS. Until smtp_session_secured() it speaks in the clear. */
enum smtp_tls {
    SMTP_TLS_OFF,
    SMTP_TLS_OFFERED,  /* STARTTLS (RFC 3207) */
    SMTP_TLS_REQUIRED, /* the same, and 530 5.7.0 to all but EHLO, NOOP, STARTTLS and QUIT before it */
    SMTP_TLS_IMPLICIT, /* before the banner (RFC 8314); a client refused by on_connect hears nothing */
};

struct smtp_ops {
    /*
     * Octets to the client; written at once or kept by the owner, who corks around
     * smtp_session_input().
     */
    void (*send)(void *owner, struct slice octets);
    /*
     * Close when all is sent. No further op is called. smtp_session_free() may be called here, as
     * in any op.
     */
    void (*close)(void *owner);
    /*
     * The owner arms the time-out of RFC 5321 4.5.3.2 for it, from zero. Called once at the end
     * of an input or answer when the phase changed, a command line was completed or mail data
     * came: octets that complete nothing prolong nothing. Must not call back but for
     * smtp_session_end() and smtp_session_free().
     */
    void (*expect)(void *owner, enum smtp_phase phase);

    /*
     * Questions. Each is answered once by smtp_session_answer(). What they point at lives until
     * then.
     *   on_connect  4xx is sent as 421, 5xx as 554, behind which only QUIT is left (RFC 5321 3.1)
     *   on_helo     a positive answer during a transaction is followed by on_abort
     *   on_data     the transaction stays after a refusal
     */
    void (*on_connect)(void *owner);
    void (*on_helo)(void *owner, struct slice name, bool esmtp);
    void (*on_mail)(void *owner, const struct smtp_mail_params *params);
    /* orcpt, notify: as smtp_rcpt_options has them. */
    void (*on_rcpt)(void *owner, const struct tern_mailbox *rcpt, struct slice orcpt,
                    struct slice notify);
    void (*on_data)(void *owner);
    /* The end of the data: a positive answer has code 250 and the queue id in its text. */
    void (*on_message)(void *owner);

    /*
     * Body octets, unstuffed, CRLF line ends. A negative errno (ENOSPC) makes the session read on
     * to the dot and reply 452 4.3.1; on_abort follows instead of on_message.
     */
    int (*on_body)(void *owner, struct slice octets);
    /*
     * The transaction that on_mail began (with a positive answer) is gone: RSET, a new EHLO, an
     * end of data refused by the session itself, QUIT or 421 (before close). Not behind an answer
     * to on_message.
     */
    void (*on_abort)(void *owner);

    /*
     * Nothing further is to be read for so long: answer it like a question, with code 0. NULL: the
     * session never pauses.
     */
    void (*pause)(void *owner, uint32_t ms);
    /*
     * True while the client does not take what was said: nothing further is read until
     * smtp_session_go_on(). NULL: never.
     */
    bool (*full)(void *owner);
    /*
     * A question: it is another client's session from here on, what is known of it was said of the one
     * before. Answered like on_connect. Only with options.xclient.
     */
    void (*on_xclient)(void *owner, const struct smtp_xclient *client);
    /* Whose the next mail was, for the log. Borrowed during the call. Only with options.xforward. */
    void (*on_xforward)(void *owner, const struct smtp_xattrs *attrs);
    /*
     * AUTH and the answers to its challenges, decoded; `initial` is NULL if there was none. They are
     * secrets, borrowed during the call only. An answer of code 334 has the next challenge as its
     * text, not encoded; 235 is success. on_auth_cancel: the client gave up; is not answered.
     */
    void (*on_auth)(void *owner, struct slice mechanism, const struct slice *initial);
    void (*on_auth_response)(void *owner, struct slice response);
    void (*on_auth_cancel)(void *owner);
    /* Appends the mechanisms that EHLO announces now, "PLAIN LOGIN"; NULL or nothing: none. */
    void (*auth_offer)(void *owner, struct buf *out);
    /*
     * TLS; both NULL with SMTP_TLS_OFF. tls_ready: whether a handshake can be begun now, else the
     * client hears 454. begin_tls: begin it, behind what was sent; nothing is fed until
     * smtp_session_secured(), and if it fails the owner ends the session without a word.
     */
    bool (*tls_ready)(void *owner);
    void (*begin_tls)(void *owner);

    /*
     * The mail for `domain` (or_below: and what ends in it) is to be sent now. 0: it is begun, -EACCES: not for this
     * client, else a negative errno: not now. Only with options.etrn.
     */
    int (*on_etrn)(void *owner, struct slice domain, bool or_below);
    /*
     * A question: VRFY, or EXPN. `mailbox` is empty if the argument is no address. Code 0: nobody knows. A positive
     * answer may have several lines, \n between them. Only with options.asks_vrfy or .asks_expn.
     */
    void (*on_vrfy)(void *owner, bool expand, struct slice argument, const struct tern_mailbox *mailbox);
};

struct smtp_session_options {
    const char *hostname; /* in the banner and EHLO; borrowed as long as the session lives */
    const struct smtp_limits *limits; /* borrowed likewise */
    bool lmtp; /* RFC 2033: LHLO, and a reply for each recipient */
    bool prdr; /* offered; not with lmtp */
    bool xclient, xforward; /* this client may speak for others */
    bool etrn, may_etrn;    /* some clients may ask for their queue; this one may */
    bool no_vrfy;           /* VRFY is 502, not 252 */
    bool asks_vrfy, asks_expn; /* the owner is asked; EXPN is 502 otherwise */
    unsigned withhold; /* smtp_extension_of() each: never offered, and not taken */
    bool auth_required; /* MAIL needs a login: 530 5.7.0 */
    enum smtp_tls tls;
    const struct smtp_ops *ops;
    void *owner;
};

struct smtp_session *smtp_session_new(const struct smtp_session_options *options);
void smtp_session_free(struct smtp_session *session);
/* Asks on_connect, then sends the banner. */
void smtp_session_start(struct smtp_session *session);
/*
 * Feeds octets. Those behind a question that is not yet answered are kept (at most
 * SMTP_HELD_OCTETS_MAX, above that 421; the owner pauses reading while smtp_session_waiting()).
 * Not from inside an op.
 */
#define SMTP_HELD_OCTETS_MAX 65536
/* The pause behind an error: this many times error_delay_ms at most. */
#define SMTP_PAUSES_MAX      10
void smtp_session_input(struct smtp_session *session, struct slice octets);
/* Answers the question under way; then goes on with the octets kept. */
void smtp_session_answer(struct smtp_session *session, const struct smtp_answer *answer);
/*
 * The handshake is done. What was learned in the clear is forgotten (RFC 3207 4.2): the client
 * greets anew, or is sent the banner. Not from inside an op.
 */
void smtp_session_secured(struct smtp_session *session);
bool smtp_session_waiting(const struct smtp_session *session);
/* What an EHLO keyword stands for in smtp_session_options.withhold; 0: there is no such extension. */
unsigned smtp_extension_of(struct slice keyword);
/* Octets were left because the owner was full(); it calls go_on() when it no longer is. */
bool smtp_session_stalled(const struct smtp_session *session);
void smtp_session_go_on(struct smtp_session *session);
/* Whether a secret has gone through since the last call: the owner then wipes what it fed. */
bool smtp_session_take_secret(struct smtp_session *session);
/* The client is known, or no longer: by other means than AUTH (XCLIENT, a new start under TLS). */
void smtp_session_set_authenticated(struct smtp_session *session, bool authenticated);
/* Withhold an EHLO keyword from the next EHLO reply ("SIZE"). Call in on_helo before answering. */
void smtp_session_withhold(struct smtp_session *session, struct slice keyword);
/* The owner ends it: sends `code enhanced text` (421 ...) and closes. In the midst of DATA too. */
void smtp_session_end(struct smtp_session *session, unsigned code, const char *enhanced,
                      const char *text);
bool smtp_session_in_transaction(const struct smtp_session *session);
/* A part of a mail has come by BDAT, and more of it is to come. */
bool smtp_session_in_chunks(const struct smtp_session *session);
/* Octets of mail that have come in all, by DATA and by BDAT, whatever became of them; not those of commands. */
uint64_t smtp_session_mail_octets(const struct smtp_session *session);
const char *smtp_session_state_name(const struct smtp_session *session);

#endif
