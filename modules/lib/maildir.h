/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maildir.h - one file into a Maildir, durable when it returns. Of the module maildir, which writes as the server's
 * user, and of tern-local, which writes as the mailbox's.
 *
 * Source: https://cr.yp.to/proto/maildir.html
 */
#ifndef LIB_MAILDIR_H
#define LIB_MAILDIR_H

#include <tern/module.h>

#define MAILDIR_PATH_OCTETS_MAX 4096

struct maildir_mail {
    char *folder;         /* absolute; changed while it works */
    const char *hostname; /* goes into the file's name */
    tern_str head;        /* written before the message, as it is */
    bool create;          /* make folders that are missing */
    bool lf;              /* CRLF of the message becomes LF */
    /* The next octets of the message: their number, 0 at the end, a negative errno. */
    int64_t (*read)(void *arg, void *buffer, size_t octets);
    void *arg;
};

/* 0: delivered. Else a negative errno with *ret_what: what could not be done; nothing is left behind. Any thread. */
int maildir_store(const struct maildir_mail *mail, const char **ret_what);

#endif
