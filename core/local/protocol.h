/* SPDX-License-Identifier: Apache-2.0 */
/*
 * protocol.h - what the worker asks of tern-local: one packet a request over a socketpair (SOCK_SEQPACKET).
 *
 * Beside the packet come one or two descriptors: a socket for the one answer, and for a delivery a pipe on which the
 * worker writes the message, so that tern-local sees that mail and no other. The socket belongs to the child that
 * does the work; if it ends without an answer the worker reads the end of the socket, and the mail waits.
 *
 *     head     magic op flags timeout_ms output_max (uint32_t each), octets (uint64_t), args env (uint16_t each)
 *     strings  user place name head secret, args..., env...: length (uint16_t), octets, NUL
 *
 * Both ends are built from the same source and run on the same machine, so numbers are in its byte order. But the
 * worker may have been taken over: the parser trusts nothing.
 */
#ifndef TERN_LOCAL_PROTOCOL_H
#define TERN_LOCAL_PROTOCOL_H

#include "base/slice.h"

#define LOCAL_REQUEST_OCTETS_MAX 32768
#define LOCAL_ARGS_MAX           64
#define LOCAL_ENV_MAX            32
#define LOCAL_USER_OCTETS_MAX    255
#define LOCAL_TIMEOUT_MS_MAX     3600000
#define LOCAL_OUTPUT_MAX         350
#define LOCAL_TEXT_OCTETS_MAX    1024 /* of an answer, with its NUL */

enum local_op {
    LOCAL_MAILDIR = 1, /* the message into a Maildir of the user */
    LOCAL_PIPE,        /* the message to a command, run as the user */
    LOCAL_PAM,         /* user and secret to PAM */
};

#define LOCAL_CREATE 1u /* MAILDIR: make folders that are missing */
#define LOCAL_LF     2u /* CRLF becomes LF */
#define LOCAL_FLAGS  3u

/* Strings have a NUL behind them, and none inside. */
struct local_request {
    uint32_t op, flags;
    uint32_t timeout_ms; /* 1 to LOCAL_TIMEOUT_MS_MAX */
    uint32_t output_max; /* PIPE: so much of what the command says is kept */
    uint64_t octets;     /* of the message: fewer on the pipe are a broken one */
    struct slice user;
    struct slice place;  /* MAILDIR: the folder, absolute, or %{home} and what follows; PAM: the service */
    struct slice name;   /* MAILDIR: the host, for the file's name; PAM: the client's address */
    struct slice head;   /* goes before the message, as it is */
    struct slice secret; /* PAM */
    unsigned args_count, env_count;
    struct slice args[LOCAL_ARGS_MAX]; /* PIPE: the first is the program, absolute */
    struct slice env[LOCAL_ENV_MAX];   /* PIPE: NAME=value */
};

enum local_status {
    LOCAL_DELIVERED = 1, /* PAM: yes */
    LOCAL_DEFERRED,      /* PAM: could not find out */
    LOCAL_FAILED,        /* for good; PAM: no */
    LOCAL_NO_USER,       /* there is no such user, or none who gets mail */
    LOCAL_REFUSED,       /* supervisor.conf does not allow what is to be done */
};

struct local_answer {
    uint32_t status;
    char enhanced[12]; /* or empty: what the status says */
    char text[LOCAL_TEXT_OCTETS_MAX];
};

/* Writes the packet. Its length, or -EMSGSIZE, or -EINVAL for what local_request_parse() would refuse. */
int local_request_put(const struct local_request *r, void *packet, size_t octets);
/* 0, or -EBADMSG. The strings of *ret lie in the packet. */
int local_request_parse(const void *packet, size_t octets, struct local_request *ret);
/* Makes an answer from the other side one that can be shown: ends it, and leaves no controls in it. */
void local_answer_clean(struct local_answer *answer);

#endif
