/* SPDX-License-Identifier: Apache-2.0 */
/*
 * private.h - the inside of a session, for the files of this folder only.
 *
 * A command is handled in three steps: check (may it come, is it well-formed; no effect),
 * ask (the owner decides; perhaps later), apply (the answered function: reply, and the state
 * moves behind a positive one). Two doors: smtp_session_move() is the only assignment to `state`,
 * smtp_session_say() the only way to send().
 */
#ifndef TERN_SMTP_PRIVATE_H
#define TERN_SMTP_PRIVATE_H

#include "base/arena.h"
#include "base/buf.h"
#include "smtp/command.h"
#include "smtp/data.h"
#include "smtp/params.h"
#include "smtp/reply.h"
#include "smtp/session.h"
#include "smtp/state.h"

#define SMTP_AUTH_LINE_OCTETS_MAX 12288 /* RFC 4954 4: with AUTH or alone, without its CRLF */

/* The question that waits for smtp_session_answer(). */
enum smtp_question {
    SMTP_QUESTION_NONE,
    SMTP_QUESTION_CONNECT,
    SMTP_QUESTION_HELO,
    SMTP_QUESTION_MAIL,
    SMTP_QUESTION_RCPT,
    SMTP_QUESTION_DATA,
    SMTP_QUESTION_MESSAGE,
    SMTP_QUESTION_PAUSE, /* not one: the client is kept waiting behind an error */
    SMTP_QUESTION_XCLIENT,
    SMTP_QUESTION_AUTH,
    SMTP_QUESTION_VRFY,
    SMTP_QUESTION_COUNT,
};

/* One message on its way in, while state is DATA or BDAT. */
struct smtp_intake {
    struct smtp_data_reader reader;
    struct smtp_hops hops;
    uint64_t octets;
    bool begun;  /* something came behind the 354 */
    bool binary; /* BODY=BINARYMIME: there are no lines to look at */
    bool whole;  /* its verdict is due */
    bool too_big;
    bool no_store; /* on_body failed */
};

/* The octets that BDAT announced; they lie before the next command, whatever the state. */
struct smtp_chunk {
    uint64_t octets, left;
    struct buf text; /* of a refusal of the owner, which is sent behind the octets */
    enum smtp_reply_id fault;
    unsigned code; /* 0: `fault` is the reply */
    char enhanced[12];
    bool open, last, refused;
    bool ends; /* refused, and with it the transaction */
};

/* There while mail data is awaited or comes, and no longer: an idle session should not pay for it. */
struct smtp_mail {
    struct smtp_intake intake;
    struct smtp_chunk chunk;
};

struct smtp_session {
    const char *hostname;
    const struct smtp_ops *ops;
    void *owner;
    const struct smtp_limits *limits;
    bool lmtp, prdr, xclient, xforward, etrn, may_etrn, no_vrfy, asks_vrfy, asks_expn;
    enum smtp_tls tls;

    enum smtp_state state;
    enum smtp_question question;
    enum smtp_phase phase;
    unsigned depth;       /* public calls under way; octets are read at depth 1 only */
    bool stalled;         /* octets wait until the owner is no longer full() */
    bool erred;           /* a refusal was said since the last pause */
    bool running, doomed; /* the loop runs; free when the last call returns */
    bool progress;        /* something was read since the last expect() */
    bool ehlo;            /* the one under way is EHLO, not HELO */
    bool esmtp;           /* the one in force was */
    bool expand;          /* the one under way is EXPN, not VRFY */
    bool smtputf8;        /* of the transaction, or of the MAIL under way */
    bool each;            /* the same: a reply for each recipient */
    bool binary;          /* the same: BODY=BINARYMIME */
    bool awaits_last;     /* LMTP: a chunk was refused, and the LAST behind it may be on its way */
    unsigned never;       /* SMTP_EXT_* that the owner never offers */
    bool auth_required, authenticated;
    bool auth_offered;    /* by the EHLO in force */
    bool secret;          /* one has gone through: see smtp_session_take_secret() */
    unsigned withheld;    /* SMTP_EXT_* that the EHLO in force did not offer */
    unsigned withholding; /* of the EHLO under way */
    bool secured;         /* TLS is on */
    bool greeted;         /* the banner was sent */
    size_t behind;        /* octets that came with the command under way, behind it */
    uint32_t error_count, command_count, message_count, rcpt_count;
    uint64_t mail_octets; /* see smtp_session_mail_octets() */

    struct buf held;      /* octets that wait: a partial line, or behind a question */
    size_t held_used;     /* of these are done */
    size_t line_scanned;  /* of the line under way: known to have no CRLF */
    bool line_skipped;    /* too long: its octets are dropped until its CRLF */
    bool line_skipped_cr; /* the last one dropped was a CR */

    struct arena memory; /* of the command under way */
    struct smtp_mail *mail; /* or NULL */
};

static inline bool smtp_chunk_is_open(const struct smtp_session *s)
{
    return s->mail != NULL && s->mail->chunk.open;
}
void smtp_mail_need(struct smtp_session *s); /* `mail` is there, empty if it was not; goes by itself */

/* Doors. */
void smtp_session_move(struct smtp_session *s, enum smtp_state next);
void smtp_session_say(struct smtp_session *s, unsigned code, const char *enhanced,
                      struct slice text);
void smtp_session_reply(struct smtp_session *s, enum smtp_reply_id id);
void smtp_session_send(struct smtp_session *s, struct slice octets); /* EHLO's lines */
/* Sends what a refusing answer says; 421 closes. */
void smtp_session_refuse(struct smtp_session *s, const struct smtp_answer *answer);
/* A positive answer's own words, or the reply of the table. */
void smtp_session_confirm(struct smtp_session *s, const struct smtp_answer *answer,
                          enum smtp_reply_id id);
void smtp_session_close(struct smtp_session *s);            /* drops a transaction first */
void smtp_session_drop_transaction(struct smtp_session *s); /* on_abort, if there is one */
void smtp_session_ask(struct smtp_session *s, enum smtp_question question);
/* Back to where the banner is due; outside of a transaction. */
void smtp_session_restart(struct smtp_session *s);
unsigned smtp_session_extensions(const struct smtp_session *s);
/*
 * What is said at the end of the data: `answer`, or with `each` one for each recipient. By the session's own
 * reply, or as the owner answers.
 */
void smtp_session_verdict(struct smtp_session *s, const struct smtp_answer *answer);
void smtp_session_verdict_own(struct smtp_session *s, enum smtp_reply_id id);
bool smtp_answer_is_refusal(const struct smtp_answer *answer);
/* Its own, or "5.0.0" and the like for an owner who gave none. */
const char *smtp_answer_enhanced(const struct smtp_answer *answer);
enum smtp_reply_id smtp_session_out_of_order(const struct smtp_session *s, enum smtp_verb verb);

/* One file per verb. `arg` is borrowed during the call. */
void smtp_cmd_helo(struct smtp_session *s, const struct smtp_command *c);
void smtp_cmd_mail(struct smtp_session *s, const struct smtp_command *c);
void smtp_cmd_rcpt(struct smtp_session *s, const struct smtp_command *c);
void smtp_cmd_data(struct smtp_session *s, const struct smtp_command *c);
void smtp_cmd_bdat(struct smtp_session *s, const struct smtp_command *c); /* in any state */
void smtp_cmd_rset(struct smtp_session *s, const struct smtp_command *c);
void smtp_cmd_noop(struct smtp_session *s, const struct smtp_command *c);
void smtp_cmd_quit(struct smtp_session *s, const struct smtp_command *c);
void smtp_cmd_starttls(struct smtp_session *s, const struct smtp_command *c);
void smtp_cmd_vrfy(struct smtp_session *s, const struct smtp_command *c);
void smtp_cmd_etrn(struct smtp_session *s, const struct smtp_command *c);
void smtp_cmd_xclient(struct smtp_session *s, const struct smtp_command *c);
void smtp_cmd_xforward(struct smtp_session *s, const struct smtp_command *c);
void smtp_cmd_auth(struct smtp_session *s, const struct smtp_command *c);
void smtp_cmd_help(struct smtp_session *s, const struct smtp_command *c);

/* Whether a listener that requires TLS refuses the verb until it is on. */
bool smtp_needs_tls(const struct smtp_session *s, enum smtp_verb verb);

/* Answers, by question. The question is over when they run. */
void smtp_connect_answered(struct smtp_session *s, const struct smtp_answer *answer);
void smtp_xclient_answered(struct smtp_session *s, const struct smtp_answer *answer);
void smtp_helo_answered(struct smtp_session *s, const struct smtp_answer *answer);
void smtp_mail_answered(struct smtp_session *s, const struct smtp_answer *answer);
void smtp_rcpt_answered(struct smtp_session *s, const struct smtp_answer *answer);
void smtp_data_answered(struct smtp_session *s, const struct smtp_answer *answer);
void smtp_bdat_answered(struct smtp_session *s, const struct smtp_answer *answer); /* DATA, by BDAT */
void smtp_message_answered(struct smtp_session *s, const struct smtp_answer *answer);
void smtp_auth_answered(struct smtp_session *s, const struct smtp_answer *answer);
void smtp_vrfy_answered(struct smtp_session *s, const struct smtp_answer *answer);

/* A line in state AUTH; one that is too long. */
void smtp_auth_line(struct smtp_session *s, struct slice line);
void smtp_auth_long(struct smtp_session *s);

/* Reads mail data from *input, at most to its end. */
void smtp_intake_read(struct smtp_session *s, struct slice *input);
/* The same for the chunk that is open. */
void smtp_chunk_read(struct smtp_session *s, struct slice *input);
/* The parts that DATA and BDAT share: begin, content, the end of the content, what is wrong, ask. */
void smtp_intake_begin(struct smtp_session *s);
void smtp_intake_take(struct smtp_session *s, struct slice content);
void smtp_intake_close(struct smtp_session *s);
enum smtp_reply_id smtp_intake_verdict(const struct smtp_session *s);
void smtp_intake_end(struct smtp_session *s);

#endif
