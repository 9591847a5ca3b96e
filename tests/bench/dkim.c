/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dkim.c - what a message costs in dkim_verify and dkim_sign, and in libopendkim: processor time of one thread.
 *
 *   dkim MODULES RSA.pem ED25519.pem RSA-RECORD ED25519-RECORD OCTETS MESSAGES ROUNDS
 *
 * Tern's are the shared objects of the build, whole: they are loaded as the server does, and called at their hook with
 * a call of plain fields (below), whose memory, header, body and DNS answers are those of a message that is
 * in memory with its key record in the cache. libopendkim is fed as its milter feeds it, with fields cut beforehand, the
 * record given by a callback and the private key as text, which it wants at each message. Same message, same fields
 * signed, relaxed/relaxed. Every result is checked. One line a round: "sign rsa tern MICROSECONDS".
 */
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>

#include <dkim_sign/dkim_sign.h>
#include <dkim_verify/verify.h>

#include <opendkim/dkim.h>

#define ARENA_OCTETS (1 << 20)
#define FIELDS_MAX   64

static void die(const char *what)
{
    fprintf(stderr, "dkim: %s\n", what);
    exit(1);
}

/* ---- a server that has one message ---- */

struct tern_call {
    char arena[ARENA_OCTETS];
    size_t used;
    void *slot;
    const void *conf;
    tern_str header, body, record;
    struct tern_header from;
    char field[8192]; /* what was put on top */
    char result[16];  /* of dkim_verify */
    bool pass, completed;
};

static void *call_alloc(tern_call *call, size_t octets)
{
    size_t at = (call->used + 15) & ~(size_t)15;

    if (at + octets > ARENA_OCTETS)
        die("the arena is too small");
    call->used = at + octets;
    return memset(call->arena + at, 0, octets);
}

static tern_str call_format(tern_call *call, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    int n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    char *at = call_alloc(call, (size_t)n + 1);
    va_start(args, format);
    (void)vsnprintf(at, (size_t)n + 1, format, args);
    va_end(args);
    return (tern_str){ at, (size_t)n };
}

static int call_header_octets(const tern_call *call, bool original, tern_str *ret)
{
    (void)original;
    *ret = call->header;
    return 0;
}

static const struct tern_header *call_header(const tern_call *call, const char *name, unsigned nth)
{
    return strcmp(name, "From") == 0 && nth == 0 ? &call->from : NULL;
}

static int64_t call_body_read(const tern_call *call, uint64_t offset, void *buffer, size_t octets)
{
    size_t left = call->body.len - (size_t)offset, n = left < octets ? left : octets;

    memcpy(buffer, call->body.ptr + offset, n);
    return (int64_t)n;
}

static uint64_t call_body_octets(const tern_call *call)
{
    return call->body.len;
}

static uint64_t call_message_octets(const tern_call *call)
{
    return call->header.len + 2 + call->body.len;
}

static bool call_is_smtputf8(const tern_call *call)
{
    (void)call;
    return false;
}

static int64_t call_now_s(const tern_call *call)
{
    (void)call;
    return time(NULL);
}

static void **call_slot(tern_call *call)
{
    return &call->slot;
}

static int call_set_result(tern_call *call, const char *name, tern_str value)
{
    char *copy = call_alloc(call, value.len + 1);

    memcpy(copy, value.ptr, value.len);
    if (strcmp(name, "dkim") == 0)
        call->pass = strcmp(copy, "pass") == 0;
    return 0;
}

static void call_note(tern_call *call, const char *key, tern_str value)
{
    (void)key;
    memcpy(call_alloc(call, value.len + 1), value.ptr, value.len);
}

static int call_header_prepend(tern_call *call, const char *name, tern_str value)
{
    int n = snprintf(call->field, sizeof(call->field), "%s: %.*s\r\n", name, (int)value.len, value.ptr);

    call->pass = n > 0 && (size_t)n < sizeof(call->field);
    return 0;
}

static tern_verdict call_fail(tern_call *call, const char *format, ...)
{
    (void)call;
    die(format);
    return TERN_ERROR;
}

static tern_verdict call_dns(tern_call *call, const char *name, unsigned type, tern_dns_fn done, void *arg)
{
    struct tern_dns_record record = { .text = call->record };
    struct tern_dns_answer answer = { .status = TERN_FOUND, .error = "", .records = &record, .count = 1 };

    (void)name;
    (void)type;
    done(call, call->conf, &answer, arg);
    return TERN_WAIT;
}

static void call_complete(tern_call *call, tern_verdict verdict)
{
    call->completed = verdict == TERN_NEXT;
}

static void *counter(const char *name, const char *doc)
{
    (void)name;
    (void)doc;
    return NULL;
}

static void counter_add(void *c, uint64_t amount)
{
    (void)c;
    (void)amount;
}

static const struct tern_api api = {
    .size = sizeof(api),
    .abi_major = TERN_ABI_MAJOR,
    .abi_minor = TERN_ABI_MINOR,
    .is_smtputf8 = call_is_smtputf8,
    .message_octets = call_message_octets,
    .header = call_header,
    .header_octets = call_header_octets,
    .body_read = call_body_read,
    .body_octets = call_body_octets,
    .set_result = call_set_result,
    .note = call_note,
    .header_prepend = call_header_prepend,
    .complete = call_complete,
    .dns = call_dns,
    .now_s = call_now_s,
    .alloc = call_alloc,
    .format = call_format,
    .slot = call_slot,
    .counter = counter,
    .counter_add = counter_add,
    .fail = call_fail,
};

static tern_handler load(const char *folder, const char *name, enum tern_hook_point point)
{
    char path[4096];
    void *state = NULL;
    const struct tern_module *(*entry)(void);

    (void)snprintf(path, sizeof(path), "%s/%s.so", folder, name);
    void *so = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = so != NULL ? dlsym(so, "tern_module_entry") : NULL;
    if (symbol == NULL)
        die(dlerror());
    memcpy(&entry, &symbol, sizeof(entry));
    const struct tern_module *module = entry();
    if (module->init(&api, &state) != 0)
        die("a module does not start");
    for (const struct tern_hook *h = module->hooks; h->run != NULL; h++)
        if (h->hook == (unsigned)point)
            return h->run;
    die("a module without that hook");
    return NULL;
}

/* ---- the message ---- */

struct field {
    const char *ptr;
    size_t len; /* without its CRLF */
};
struct message {
    char header[16384];
    size_t header_octets;
    char *body;
    size_t body_octets;
    struct field fields[FIELDS_MAX];
    unsigned field_count;
};

static void cut_fields(struct message *m)
{
    m->field_count = 0;
    for (char *at = m->header; *at != '\0';) {
        char *end = strstr(at, "\r\n");
        while (end[2] == ' ' || end[2] == '\t')
            end = strstr(end + 2, "\r\n");
        m->fields[m->field_count++] = (struct field){ at, (size_t)(end - at) };
        at = end + 2;
    }
    m->header_octets = strlen(m->header);
}

static void make_message(struct message *m, size_t octets)
{
    static const char line[] = "A line of a mail as people write them,  with some blanks in it.\r\n";

    (void)snprintf(m->header, sizeof(m->header),
                   "Received: from mail.client.example (mail.client.example [192.0.2.7])\r\n"
                   "\tby relay.client.example (Postfix) with ESMTPS id 4B2C11F0A3;\r\n\tMon, 02 Mar 2026 10:00:00 +0000\r\n"
                   "From: Bob Example <bob@client.example>\r\nTo: Alice <alice@sink.example>, carol@sink.example\r\n"
                   "Subject: What we said\r\n about the meeting on Thursday\r\nDate: Mon, 02 Mar 2026 10:00:00 +0000\r\n"
                   "Message-ID: <20260302100000.1234@client.example>\r\nReferences: <a@sink.example>\r\n\t<b@sink.example>\r\n"
                   "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n"
                   "X-Mailer: something\r\n");
    cut_fields(m);
    m->body_octets = octets > m->header_octets + 2 ? octets - m->header_octets - 2 : 2;
    m->body = malloc(m->body_octets + sizeof(line));
    if (m->body == NULL)
        die("no memory");
    for (size_t at = 0; at < m->body_octets; at += sizeof(line) - 1)
        memcpy(m->body + at, line, sizeof(line));
    memcpy(m->body + m->body_octets - 2, "\r\n", 2);
}

static void put_on_top(struct message *m, const char *field)
{
    size_t n = strlen(field);

    memmove(m->header + n, m->header, m->header_octets + 1);
    memcpy(m->header, field, n);
    cut_fields(m);
}

/* ---- Tern ---- */

static struct tern_call *call_for(const struct message *m, tern_str record)
{
    struct tern_call *call = calloc(1, sizeof(*call));
    static const char from[] = "Bob Example <bob@client.example>";

    if (call == NULL)
        die("no memory");
    call->header = (tern_str){ m->header, m->header_octets };
    call->body = (tern_str){ m->body, m->body_octets };
    call->record = record;
    call->from = (struct tern_header){ TERN_STR("From"), { from, sizeof(from) - 1 } };
    return call;
}

static void run_tern(tern_handler run, struct tern_call *call, const void *conf)
{
    call->used = 0;
    call->pass = call->completed = false;
    call->slot = NULL;
    call->conf = conf;
    if (run(call, conf) != TERN_NEXT && !call->completed)
        die("a step of Tern's did not say NEXT");
    if (!call->pass)
        die("a step of Tern's did not sign, or found no good signature");
}

/* ---- libopendkim ---- */

static const char *opendkim_record;

static DKIM_CBSTAT give_record(DKIM *dkim, DKIM_SIGINFO *sig, u_char *buffer, size_t octets)
{
    (void)dkim;
    (void)sig;
    (void)snprintf((char *)buffer, octets, "%s", opendkim_record);
    return DKIM_CBSTAT_CONTINUE;
}

static void feed(DKIM *dkim, const struct message *m)
{
    for (unsigned i = 0; i < m->field_count; i++)
        if (dkim_header(dkim, (u_char *)m->fields[i].ptr, m->fields[i].len) != DKIM_STAT_OK)
            die("libopendkim does not take a field");
    if (dkim_eoh(dkim) != DKIM_STAT_OK || dkim_body(dkim, (u_char *)m->body, m->body_octets) != DKIM_STAT_OK)
        die("libopendkim does not take the message");
    DKIM_STAT got = dkim_eom(dkim, NULL);
    if (got != DKIM_STAT_OK) {
        fprintf(stderr, "dkim: libopendkim at the end of the message: %s\n", dkim_getresultstr(got));
        exit(1);
    }
}

static void verify_opendkim(DKIM_LIB *lib, const struct message *m)
{
    DKIM_STAT status;
    DKIM *dkim = dkim_verify(lib, (const unsigned char *)"x", NULL, &status);

    if (dkim == NULL)
        die("libopendkim does not verify");
    feed(dkim, m);
    (void)dkim_free(dkim);
}

static void sign_opendkim(DKIM_LIB *lib, const struct message *m, const char *pem, bool ed25519)
{
    DKIM_STAT status;
    u_char *field;
    size_t octets;
    DKIM *dkim = dkim_sign(lib, (const unsigned char *)"x", NULL, (dkim_sigkey_t)pem, (const unsigned char *)"s1",
                           (const unsigned char *)"client.example", DKIM_CANON_RELAXED, DKIM_CANON_RELAXED,
                           ed25519 ? DKIM_SIGN_ED25519SHA256 : DKIM_SIGN_RSASHA256, -1, &status);

    if (dkim == NULL)
        die("libopendkim does not sign");
    feed(dkim, m);
    if (dkim_getsighdr_d(dkim, 16, &field, &octets) != DKIM_STAT_OK)
        die("libopendkim has no signature");
    (void)dkim_free(dkim);
}

static DKIM_LIB *opendkim(void)
{
    static const u_char *names[] = { (const u_char *)"From", (const u_char *)"To", (const u_char *)"Cc", (const u_char *)"Subject",
                                     (const u_char *)"Date", (const u_char *)"Message-ID", (const u_char *)"References",
                                     (const u_char *)"MIME-Version", (const u_char *)"Content-Type",
                                     (const u_char *)"Content-Transfer-Encoding", NULL };
    static const u_char *over[] = { (const u_char *)"From", (const u_char *)"To", (const u_char *)"Cc", (const u_char *)"Subject",
                                    (const u_char *)"Date", (const u_char *)"Message-ID", (const u_char *)"Content-Type", NULL };
    DKIM_LIB *lib = dkim_init(NULL, NULL);

    if (lib == NULL || dkim_options(lib, DKIM_OP_SETOPT, DKIM_OPTS_SIGNHDRS, names, sizeof(u_char **)) != DKIM_STAT_OK ||
        dkim_options(lib, DKIM_OP_SETOPT, DKIM_OPTS_OVERSIGNHDRS, over, sizeof(u_char **)) != DKIM_STAT_OK)
        die("libopendkim does not start");
    (void)dkim_set_key_lookup(lib, give_record);
    return lib;
}

/* ---- rounds ---- */

static double cpu_us(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

struct round {
    const char *name; /* "rsa", "ed25519" */
    bool ed25519;
    const char *path, *pem;
    tern_str record;
    unsigned messages;
};
static tern_handler tern_sign, tern_verify;
static DKIM_LIB *lib;
static bool opendkim_knows_ed25519;

static void say(const char *what, const struct round *r, const char *who, double us)
{
    printf("%s %s %s %.2f\n", what, r->name, who, us / r->messages);
    fflush(stdout);
}

static void sign_round(const struct round *r, const struct message *plain, struct message *ret_signed)
{
    static tern_str names[] = { TERN_STR("From"), TERN_STR("To"), TERN_STR("Cc"), TERN_STR("Subject"), TERN_STR("Date"),
                                TERN_STR("Message-ID"), TERN_STR("Reply-To"), TERN_STR("Sender"), TERN_STR("In-Reply-To"),
                                TERN_STR("References"), TERN_STR("MIME-Version"), TERN_STR("Content-Type"),
                                TERN_STR("Content-Transfer-Encoding"), TERN_STR("List-Id"), TERN_STR("List-Unsubscribe"),
                                TERN_STR("List-Unsubscribe-Post") };
    static tern_str over[] = { TERN_STR("From"), TERN_STR("To"), TERN_STR("Cc"), TERN_STR("Subject"), TERN_STR("Date"),
                               TERN_STR("Message-ID"), TERN_STR("Content-Type") };
    struct sign_conf conf = { .selector = TERN_STR("s1"), .key = { r->path, strlen(r->path) }, .headers = { names, 16 },
                              .oversign = { over, 7 }, .generation = 1 };
    struct tern_call *call = call_for(plain, r->record);

    run_tern(tern_sign, call, &conf); /* reads the key */
    double begin = cpu_us();
    for (unsigned i = 0; i < r->messages; i++)
        run_tern(tern_sign, call, &conf);
    say("sign", r, "tern", cpu_us() - begin);
    *ret_signed = *plain;
    put_on_top(ret_signed, call->field);
    free(call);
    if (r->ed25519 && !opendkim_knows_ed25519)
        return;
    begin = cpu_us();
    for (unsigned i = 0; i < r->messages; i++)
        sign_opendkim(lib, plain, r->pem, r->ed25519);
    say("sign", r, "libopendkim", cpu_us() - begin);
}

static void verify_round(const struct round *r, const struct message *m)
{
    struct verify_conf conf = { .signatures = 8, .min_bits = 1024, .clock_skew_s = 300 };
    struct tern_call *call = call_for(m, r->record);

    run_tern(tern_verify, call, &conf); /* keeps the key */
    double begin = cpu_us();
    for (unsigned i = 0; i < r->messages; i++)
        run_tern(tern_verify, call, &conf);
    say("verify", r, "tern", cpu_us() - begin);
    free(call);
    if (r->ed25519 && !opendkim_knows_ed25519)
        return;
    opendkim_record = r->record.ptr;
    begin = cpu_us();
    for (unsigned i = 0; i < r->messages; i++)
        verify_opendkim(lib, m);
    say("verify", r, "libopendkim", cpu_us() - begin);
}

static char *read_file(const char *path)
{
    static char texts[2][8192];
    static unsigned count;
    char *text = texts[count++];
    FILE *f = fopen(path, "r");

    if (f == NULL || fread(text, 1, sizeof(texts[0]) - 1, f) == 0)
        die("a key cannot be read");
    (void)fclose(f);
    return text;
}

int main(int argc, char **argv)
{
    static struct message plain, signed_;

    if (argc != 9)
        die("MODULES RSA.pem ED25519.pem RSA-RECORD ED25519-RECORD OCTETS MESSAGES ROUNDS");
    unsigned messages = (unsigned)atoi(argv[7]), rounds = (unsigned)atoi(argv[8]);
    struct round kinds[2] = {
        { "rsa", false, argv[2], read_file(argv[2]), { argv[4], strlen(argv[4]) }, messages },
        { "ed25519", true, argv[3], read_file(argv[3]), { argv[5], strlen(argv[5]) }, messages },
    };
    tern_sign = load(argv[1], "dkim_sign", TERN_HOOK_SIGN);
    tern_verify = load(argv[1], "dkim_verify", TERN_HOOK_MESSAGE);
    lib = opendkim();
    opendkim_knows_ed25519 = dkim_libfeature(lib, DKIM_FEATURE_ED25519);
    make_message(&plain, (size_t)atoi(argv[6]));
    for (unsigned round = 0; round < rounds; round++) {
        for (unsigned i = 0; i < 2; i++) {
            sign_round(&kinds[i], &plain, &signed_);
            verify_round(&kinds[i], &signed_);
        }
    }
    dkim_close(lib);
    return 0;
}
