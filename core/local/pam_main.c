/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pam_main.c - the program tern-pam: asks PAM once, answers once, and ends. Standard input: service, user, the
 * client's address, password, each with a NUL behind it; standard output is a socket for one struct local_answer.
 *
 * Source: pam_conv(3), pam_authenticate(3), pam_acct_mgmt(3).
 */
#include <security/pam_appl.h>

#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "local/protocol.h"

#define PARTS 4

static char question[LOCAL_REQUEST_OCTETS_MAX + 1];

struct asked {
    const char *service, *user, *address, *password;
};

static bool read_question(struct asked *ret)
{
    const char **parts[PARTS] = { &ret->service, &ret->user, &ret->address, &ret->password };
    size_t len = 0;

    for (ssize_t n = 1; n > 0 && len < sizeof(question); len += n > 0 ? (size_t)n : 0)
        n = read(0, question + len, sizeof(question) - len);
    const char *at = question, *end = question + len;
    for (unsigned i = 0; i < PARTS; i++) {
        const char *nul = at < end ? memchr(at, '\0', (size_t)(end - at)) : NULL;
        if (nul == NULL)
            return false;
        *parts[i] = at;
        at = nul + 1;
    }
    return at == end;
}

/* What is asked without echo is the password, what with echo is the name; words for people have no reader here. */
static int converse(int count, const struct pam_message **messages, struct pam_response **ret, void *arg)
{
    const struct asked *a = arg;
    bool few = count > 0 && count <= PAM_MAX_NUM_MSG;
    struct pam_response *answers = few ? calloc((size_t)count, sizeof(*answers)) : NULL;
    bool ok = answers != NULL;

    for (int i = 0; i < count && ok; i++) {
        int style = messages[i]->msg_style;
        if (style == PAM_PROMPT_ECHO_OFF || style == PAM_PROMPT_ECHO_ON) {
            answers[i].resp = strdup(style == PAM_PROMPT_ECHO_OFF ? a->password : a->user);
            ok = answers[i].resp != NULL;
        } else {
            ok = style == PAM_TEXT_INFO || style == PAM_ERROR_MSG;
        }
    }
    if (ok) {
        *ret = answers;
        return PAM_SUCCESS;
    }
    for (int i = 0; answers != NULL && i < count; i++) {
        if (answers[i].resp != NULL)
            explicit_bzero(answers[i].resp, strlen(answers[i].resp));
        free(answers[i].resp);
    }
    free(answers);
    return PAM_CONV_ERR;
}

/* Who guesses is slowed down by Tern, without a process that waits. */
static void no_delay(int result, unsigned microseconds, void *arg)
{
    (void)result;
    (void)microseconds;
    (void)arg;
}

static enum local_status status_of(int result)
{
    switch (result) {
    case PAM_SUCCESS: return LOCAL_DELIVERED;
    case PAM_USER_UNKNOWN: return LOCAL_NO_USER;
    case PAM_AUTH_ERR:
    case PAM_PERM_DENIED:
    case PAM_MAXTRIES:
    case PAM_ACCT_EXPIRED:
    case PAM_CRED_EXPIRED:
    case PAM_AUTHTOK_EXPIRED:
    case PAM_NEW_AUTHTOK_REQD: return LOCAL_FAILED;
    default: return LOCAL_DEFERRED; /* a module, its server or its file is not there: nobody knows */
    }
}

static int ask(const struct asked *a, pam_handle_t **handle)
{
    struct pam_conv conv = { converse, (void *)a };
    int r = pam_start(a->service, a->user, &conv, handle);

    if (r == PAM_SUCCESS)
        r = pam_set_item(*handle, PAM_RHOST, a->address);
    if (r == PAM_SUCCESS)
        r = pam_set_item(*handle, PAM_FAIL_DELAY, (const void *)no_delay);
    if (r == PAM_SUCCESS)
        r = pam_authenticate(*handle, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK);
    /* The right password of somebody who may not log in, or not any more. */
    return r == PAM_SUCCESS ? pam_acct_mgmt(*handle, PAM_SILENT | PAM_DISALLOW_NULL_AUTHTOK) : r;
}

/* A yes carries the name that PAM's modules made of the user's, if they did; anything else why. */
static void fill(struct local_answer *answer, int r, pam_handle_t *handle, const char *user)
{
    const void *name = NULL;

    answer->status = status_of(r);
    if (r != PAM_SUCCESS)
        (void)snprintf(answer->text, sizeof(answer->text), "PAM: %s", pam_strerror(handle, r));
    else if (pam_get_item(handle, PAM_USER, &name) == PAM_SUCCESS && name != NULL && strcmp(name, user) != 0)
        (void)snprintf(answer->text, sizeof(answer->text), "%s", (const char *)name);
}

int main(void)
{
    struct local_answer answer = { .status = LOCAL_DEFERRED };
    struct rlimit none = { 0, 0 };
    struct asked asked;
    pam_handle_t *handle = NULL;

    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)setrlimit(RLIMIT_CORE, &none);
    int out = dup(1);
    if (out < 0 || dup2(2, 1) < 0 || !read_question(&asked)) {
        (void)fprintf(stderr, "tern-pam is started by tern-local, not by hand\n");
        return 64;
    }
    int r = ask(&asked, &handle);
    fill(&answer, r, handle, asked.user);
    (void)send(out, &answer, sizeof(answer), MSG_NOSIGNAL);
    explicit_bzero(question, sizeof(question));
    if (handle != NULL)
        (void)pam_end(handle, r);
    (void)close(out); /* it is waited for */
    return 0;
}
