/* SPDX-License-Identifier: Apache-2.0 */
/*
 * directory.c - libldap, asynchronous calls with one deadline each; see directory.h.
 *
 * Sources: RFC 4511 (protocol), RFC 4513 5.1 (simple binds); ldap_result(3), ldap_get_option(3).
 */
#include <lib/directory.h>

#include <errno.h>
#include <fcntl.h>
#include <ldap.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <lib/template.h>

const char *const directory_scope_names[] = { "sub", "one", "base", NULL };

#define GUARD_LATE_MS 50 /* libldap's own time-outs come first */

struct directory {
    LDAP *ld;
    uint64_t end_ms;
    struct ldap_conncb connected;
    int fd; /* our own descriptor of its socket, or -1; guard_lock */
    bool guarded;
    struct directory *next; /* guard_lock */
};

static uint64_t now_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static struct timeval left(const struct directory *d)
{
    uint64_t now = now_ms(), ms = d->end_ms > now ? d->end_ms - now : 1;

    return (struct timeval){ .tv_sec = (time_t)(ms / 1000), .tv_usec = (suseconds_t)(ms % 1000 * 1000) };
}

/* What the server says is its operator's text: one line of ours. */
static int say(const struct directory *d, int code, char *error, size_t octets)
{
    char *text = NULL;
    int errno_ = EIO;

    if (code == LDAP_TIMEOUT || now_ms() >= d->end_ms) {
        (void)snprintf(error, octets, "LDAP: no answer in time");
        return -ETIMEDOUT;
    }
    (void)ldap_get_option(d->ld, LDAP_OPT_DIAGNOSTIC_MESSAGE, &text);
    (void)snprintf(error, octets, "LDAP: %s%s%.200s", ldap_err2string(code),
                   text != NULL && text[0] != '\0' ? ": " : "", text != NULL ? text : "");
    ldap_memfree(text);
    for (char *c = error; *c != '\0'; c++)
        if ((unsigned char)*c < ' ')
            *c = ' ';
    if (code == LDAP_SERVER_DOWN || code == LDAP_UNAVAILABLE)
        errno_ = ECONNRESET;
    return -errno_;
}

static int wrong(char *error, size_t octets, const char *text)
{
    (void)snprintf(error, octets, "%s", text);
    return -EINVAL;
}

static bool holds_nul(tern_str s)
{
    return s.len > 0 && strlen(s.ptr) != s.len;
}

int directory_check(const struct directory_conf *c, const char *word, char *error, size_t octets)
{
    char why[256];

    if (!ldap_is_ldap_url(c->uri.ptr) && !ldap_is_ldaps_url(c->uri.ptr) && !ldap_is_ldapi_url(c->uri.ptr))
        return wrong(error, octets, "uri: expected ldap://host, ldaps://host or ldapi://path");
    if (c->starttls && !ldap_is_ldap_url(c->uri.ptr))
        return wrong(error, octets, "starttls: is for ldap:// only");
    if ((c->bind_dn.len > 0) != (c->bind_password.len > 0))
        return wrong(error, octets, "bind_dn: and bind_password: go together");
    if (holds_nul(c->uri) || holds_nul(c->bind_dn) || holds_nul(c->bind_password) || holds_nul(c->base))
        return wrong(error, octets, "an option holds NUL");
    if (word == NULL || template_check(c->filter, word, why, sizeof(why)) == 0)
        return 0;
    (void)snprintf(error, octets, "filter: %s", why);
    return -EINVAL;
}

/* ---- a connection ---- */

/*
 * libldap waits for the first octet of an answer with its time-out, but for the rest of it, and in a TLS
 * handshake, it reads from a socket that blocks: a server that says half would hold us for ever. So one thread of the
 * process looks at the deadlines of what is under way and shuts the socket of who is late. It has a descriptor of
 * its own for it, since libldap may have closed its one, and the number may be another's by then.
 */
static pthread_mutex_t guard_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t guard_changed = PTHREAD_COND_INITIALIZER;
static struct directory *guarded;
static bool guard_runs;

/* Shuts who is late; the next deadline, or 0. Caller holds guard_lock. */
static uint64_t look_at_deadlines(void)
{
    uint64_t now = now_ms(), first = 0;

    for (struct directory *d = guarded; d != NULL; d = d->next) {
        uint64_t end = d->end_ms + GUARD_LATE_MS;
        if (d->fd >= 0 && end <= now) {
            (void)shutdown(d->fd, SHUT_RDWR);
            end = now + GUARD_LATE_MS;
        }
        if (end <= now) /* not connected yet: libldap's own time-out */
            end = now + GUARD_LATE_MS;
        if (first == 0 || end < first)
            first = end;
    }
    return first;
}

static void *guard_main(void *arg)
{
    (void)pthread_mutex_lock(&guard_lock);
    for (;;) {
        uint64_t first = look_at_deadlines();
        if (first == 0) {
            (void)pthread_cond_wait(&guard_changed, &guard_lock);
            continue;
        }
        struct timespec until = { .tv_sec = (time_t)(first / 1000), .tv_nsec = (long)(first % 1000 * 1000000) };
        (void)pthread_cond_clockwait(&guard_changed, &guard_lock, CLOCK_MONOTONIC, &until);
    }
    return arg;
}

/* From here to unguard() the connection has a deadline. 0, or negative. */
static int guard(struct directory *d, uint64_t timeout_ms)
{
    pthread_attr_t detached;
    pthread_t thread;
    int r = 0;

    (void)pthread_mutex_lock(&guard_lock);
    if (!guard_runs) {
        (void)pthread_attr_init(&detached);
        (void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
        r = pthread_create(&thread, &detached, guard_main, NULL);
        (void)pthread_attr_destroy(&detached);
        guard_runs = r == 0;
    }
    d->end_ms = now_ms() + timeout_ms;
    if (r == 0 && !d->guarded) {
        d->guarded = true;
        d->next = guarded;
        guarded = d;
        (void)pthread_cond_signal(&guard_changed);
    }
    (void)pthread_mutex_unlock(&guard_lock);
    return -r;
}

static void unguard(struct directory *d)
{
    (void)pthread_mutex_lock(&guard_lock);
    for (struct directory **at = &guarded; *at != NULL; at = &(*at)->next)
        if (*at == d) {
            *at = d->next;
            break;
        }
    d->guarded = false;
    (void)pthread_mutex_unlock(&guard_lock);
}

static void forget_socket(struct directory *d)
{
    (void)pthread_mutex_lock(&guard_lock);
    if (d->fd >= 0)
        (void)close(d->fd);
    d->fd = -1;
    (void)pthread_mutex_unlock(&guard_lock);
}

/* Connected, and nothing said yet. */
static int on_connect(LDAP *ld, Sockbuf *sb, LDAPURLDesc *server, struct sockaddr *address, struct ldap_conncb *cb)
{
    struct directory *d = cb->lc_arg;
    ber_socket_t fd = -1;

    if (ber_sockbuf_ctrl(sb, LBER_SB_OPT_GET_FD, &fd) != 1)
        return -1;
    forget_socket(d);
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    if (own < 0)
        return -1;
    (void)pthread_mutex_lock(&guard_lock);
    d->fd = own;
    (void)pthread_mutex_unlock(&guard_lock);
    return 0;
}

static void on_disconnect(LDAP *ld, Sockbuf *sb, struct ldap_conncb *cb)
{
    forget_socket(cb->lc_arg);
}

static int set_options(struct directory *d, const struct directory_conf *c)
{
    int three = LDAP_VERSION3, demand = LDAP_OPT_X_TLS_DEMAND, client = 0;
    struct timeval t = left(d);
    ber_len_t most = DIRECTORY_ANSWER_OCTETS_MAX;
    Sockbuf *sb = NULL;
    int r = ldap_set_option(d->ld, LDAP_OPT_PROTOCOL_VERSION, &three);

    d->connected = (struct ldap_conncb){ .lc_add = on_connect, .lc_del = on_disconnect, .lc_arg = d };
    if (r == LDAP_OPT_SUCCESS)
        r = ldap_set_option(d->ld, LDAP_OPT_CONNECT_CB, &d->connected);
    if (r == LDAP_OPT_SUCCESS)
        r = ldap_set_option(d->ld, LDAP_OPT_REFERRALS, LDAP_OPT_OFF);
    if (r == LDAP_OPT_SUCCESS)
        r = ldap_set_option(d->ld, LDAP_OPT_NETWORK_TIMEOUT, &t);
    if (r == LDAP_OPT_SUCCESS)
        r = ldap_set_option(d->ld, LDAP_OPT_TIMEOUT, &t);
    if (r == LDAP_OPT_SUCCESS)
        r = ldap_set_option(d->ld, LDAP_OPT_RESTART, LDAP_OPT_ON);
    if (r == LDAP_OPT_SUCCESS)
        r = ldap_set_option(d->ld, LDAP_OPT_X_TLS_REQUIRE_CERT, &demand);
    if (r == LDAP_OPT_SUCCESS && c->ca_file.len > 0)
        r = ldap_set_option(d->ld, LDAP_OPT_X_TLS_CACERTFILE, c->ca_file.ptr);
    if (r == LDAP_OPT_SUCCESS && (c->starttls || ldap_is_ldaps_url(c->uri.ptr)))
        r = ldap_set_option(d->ld, LDAP_OPT_X_TLS_NEWCTX, &client);
    if (r == LDAP_OPT_SUCCESS && ldap_get_option(d->ld, LDAP_OPT_SOCKBUF, &sb) == LDAP_OPT_SUCCESS && sb != NULL)
        (void)ber_sockbuf_ctrl(sb, LBER_SB_OPT_SET_MAX_INCOMING, &most);
    return r;
}

/* The result of an operation, to be freed; LDAP_SUCCESS or another code. *ret stays as it was if there is none. */
static int await(struct directory *d, int message, LDAPMessage **ret)
{
    struct timeval t = left(d);
    LDAPMessage *result = NULL;
    int code = LDAP_OTHER, got = ldap_result(d->ld, message, LDAP_MSG_ALL, &t, &result);

    if (got == 0)
        return LDAP_TIMEOUT;
    if (got < 0) {
        (void)ldap_get_option(d->ld, LDAP_OPT_RESULT_CODE, &code);
        return code != LDAP_SUCCESS ? code : LDAP_OTHER;
    }
    int r = ldap_parse_result(d->ld, result, &code, NULL, NULL, NULL, NULL, 0);
    if (r != LDAP_SUCCESS)
        code = r;
    *ret = result;
    return code;
}

/* A code of LDAP. */
static int bind_as(struct directory *d, const char *dn, tern_str password)
{
    struct berval secret = { .bv_len = password.len, .bv_val = (char *)(uintptr_t)password.ptr };
    int message = 0;
    int code = ldap_sasl_bind(d->ld, dn, LDAP_SASL_SIMPLE, &secret, NULL, NULL, &message);
    LDAPMessage *result = NULL;

    if (code == LDAP_SUCCESS)
        code = await(d, message, &result);
    /* libldap takes any kind of result for the answer; a yes to something else is none. */
    if (result != NULL && ldap_msgtype(result) != LDAP_RES_BIND)
        code = LDAP_DECODING_ERROR;
    (void)ldap_msgfree(result);
    return code;
}

static int connect_(const struct directory_conf *c, uint64_t timeout_ms, struct directory **ret, char *error,
                    size_t octets)
{
    struct directory *d = calloc(1, sizeof(*d));

    if (d == NULL)
        return -ENOMEM;
    d->fd = -1;
    int r = guard(d, timeout_ms);
    int code = r == 0 ? ldap_initialize(&d->ld, c->uri.ptr) : LDAP_NO_MEMORY;
    if (code != LDAP_SUCCESS) {
        (void)snprintf(error, octets, "LDAP: %s", ldap_err2string(code));
        unguard(d);
        free(d);
        return -EIO;
    }
    if (set_options(d, c) != LDAP_OPT_SUCCESS) {
        (void)snprintf(error, octets, "LDAP: an option is not taken%s",
                       c->ca_file.len > 0 ? "; can ca_file be read?" : "");
        r = -EIO;
    } else if (c->starttls && (code = ldap_start_tls_s(d->ld, NULL, NULL)) != LDAP_SUCCESS) {
        r = say(d, code, error, octets);
    }
    if (r == 0) {
        *ret = d;
        return 0;
    }
    directory_close(d);
    return r;
}

void directory_close(struct directory *d)
{
    if (d == NULL)
        return;
    (void)ldap_unbind_ext(d->ld, NULL, NULL);
    unguard(d);
    forget_socket(d);
    free(d);
}

int directory_open(const struct directory_conf *c, uint64_t timeout_ms, struct directory **ret, char *error,
                   size_t octets)
{
    struct directory *d;
    int r = connect_(c, timeout_ms, &d, error, octets);

    if (r < 0)
        return r;
    /* An anonymous one, too: so that a server which is not there is found out here. */
    int code = bind_as(d, c->bind_dn.ptr, c->bind_password);
    if (code == LDAP_SUCCESS) {
        unguard(d);
        *ret = d;
        return 0;
    }
    r = say(d, code, error, octets);
    directory_close(d);
    return r;
}

int directory_is_password(const struct directory_conf *c, const char *dn, tern_str password, uint64_t timeout_ms,
                          char *error, size_t octets)
{
    struct directory *d;

    if (password.len == 0 || dn[0] == '\0')
        return 0;
    int r = connect_(c, timeout_ms, &d, error, octets);
    if (r < 0)
        return r;
    int code = bind_as(d, dn, password);
    switch (code) {
    case LDAP_SUCCESS: r = 1; break;
    case LDAP_INVALID_CREDENTIALS:
    case LDAP_INAPPROPRIATE_AUTH: /* the entry has no password */
    case LDAP_NO_SUCH_OBJECT:
    case LDAP_INVALID_DN_SYNTAX: r = 0; break;
    default: r = say(d, code, error, octets); break;
    }
    directory_close(d);
    return r;
}

/* ---- a search ---- */

/* The first value, copied; LDAP's values may hold anything. */
static int copy_value(struct directory *d, LDAPMessage *entry, const char *attribute, tern_str *ret, char *error,
                      size_t octets)
{
    struct berval **values = attribute != NULL ? ldap_get_values_len(d->ld, entry, attribute) : NULL;
    int r = 0;

    if (values != NULL && values[0] != NULL) {
        size_t len = values[0]->bv_len;
        if (len > DIRECTORY_VALUE_OCTETS_MAX || memchr(values[0]->bv_val, '\0', len) != NULL) {
            (void)snprintf(error, octets, "LDAP: a value of %s %s", attribute,
                           len > DIRECTORY_VALUE_OCTETS_MAX ? "is too long" : "holds NUL");
            r = -EBADMSG;
        } else {
            char *text = strndup(values[0]->bv_val, len);
            r = text != NULL ? 0 : -ENOMEM;
            if (r == 0)
                *ret = (tern_str){ text, len };
        }
        explicit_bzero(values[0]->bv_val, len);
    }
    ldap_value_free_len(values);
    return r;
}

static int read_entries(struct directory *d, LDAPMessage *result, const char *attribute, const char *second,
                        struct directory_row *ret, char *error, size_t octets)
{
    LDAPMessage *entry = ldap_first_entry(d->ld, result);

    if (entry == NULL)
        return 0;
    ret->entries = ldap_next_entry(d->ld, entry) != NULL ? 2 : 1;
    ret->dn = ldap_get_dn(d->ld, entry);
    if (ret->dn == NULL) {
        (void)snprintf(error, octets, "LDAP: an entry without a name");
        return -EBADMSG;
    }
    int r = copy_value(d, entry, attribute, &ret->value, error, octets);
    return r < 0 ? r : copy_value(d, entry, second, &ret->second, error, octets);
}

int directory_search(struct directory *d, const struct directory_conf *c, tern_str key, const char *attribute,
                     const char *second, uint64_t timeout_ms, struct directory_row *ret, char *error, size_t octets)
{
    static const int scopes[] = { LDAP_SCOPE_SUBTREE, LDAP_SCOPE_ONELEVEL, LDAP_SCOPE_BASE };
    const char *names[] = { attribute != NULL ? attribute : LDAP_NO_ATTRS, second, NULL };
    char filter[TEMPLATE_OCTETS_MAX];
    LDAPMessage *result = NULL;
    int message;

    *ret = (struct directory_row){ .entries = 0 };
    int r = template_fill(c->filter, TEMPLATE_FILTER, key, filter);
    if (r == -ENOENT)
        return 0;
    if (r < 0) {
        (void)snprintf(error, octets, "the filter is too long");
        return -EBADMSG;
    }
    r = guard(d, timeout_ms);
    if (r < 0)
        return r;
    struct timeval t = left(d);
    int code = ldap_search_ext(d->ld, c->base.ptr, scopes[c->scope], filter, (char **)(uintptr_t)names, 0, NULL, NULL,
                               &t, 2, &message);
    if (code == LDAP_SUCCESS)
        code = await(d, message, &result);
    if (code == LDAP_SUCCESS || code == LDAP_SIZELIMIT_EXCEEDED)
        r = read_entries(d, result, attribute, second, ret, error, octets);
    else
        r = say(d, code, error, octets);
    unguard(d);
    (void)ldap_msgfree(result);
    if (r < 0)
        directory_row_fini(ret);
    return r;
}

static void wipe(tern_str *s)
{
    char *text = (char *)(uintptr_t)s->ptr;

    if (text != NULL)
        explicit_bzero(text, s->len);
    free(text);
}

void directory_row_fini(struct directory_row *row)
{
    ldap_memfree(row->dn);
    wipe(&row->value);
    wipe(&row->second);
    *row = (struct directory_row){ .entries = 0 };
}
