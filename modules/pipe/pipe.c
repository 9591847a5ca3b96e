/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pipe - a transport: gives each recipient's copy to a command, by tern-local, which runs it as a user.
 *
 * A command is a list of arguments and never a line for a shell. What a client may choose fills one argument, whatever
 * it holds; if it would be the beginning of an argument and begins with a dash it is refused, lest it be an option.
 */
#include <tern/module.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <lib/local_outcome.h>
#include <lib/variables.h>

#define ARGS_MAX        64
#define ENV_MAX         32
#define USER_OCTETS_MAX 256
#define HEAD_OCTETS_MAX 2048
#define TEXT_OCTETS_MAX 24576 /* of all arguments and variables together; the rest of a request is left to the head */

static const struct tern_api *tern;
static const char *const ends[] = { "lf", "crlf", NULL };

struct pipe_conf {
    struct tern_list command;
    struct tern_map environment;
    tern_str user, delimiter;
    uint64_t timeout_ms, max_output;
    bool head;
    int line_ends;
};

/* What stands for what, for one recipient. */
struct values {
    tern_str sender, recipient, user, local, extension, domain, id;
    char user_lower[USER_OCTETS_MAX], domain_lower[USER_OCTETS_MAX];
};

struct text {
    char data[TEXT_OCTETS_MAX];
    size_t len;
};

struct variable {
    const char *word; /* as it is written: %{sender} */
    size_t offset;    /* in struct values */
};
#define VARIABLE(name) { "%{" #name "}", offsetof(struct values, name) }
static const struct variable variables[] = { VARIABLE(sender), VARIABLE(recipient), VARIABLE(user), VARIABLE(local),
                                             VARIABLE(extension), VARIABLE(domain), VARIABLE(id), { NULL, 0 } };

/* ---- filling in ---- */

static const struct variable *variable_at(const char *p)
{
    for (const struct variable *v = variables; v->word != NULL; v++)
        if (strncmp(p, v->word, strlen(v->word)) == 0)
            return v;
    return NULL;
}

static bool is_harmless(tern_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < ' ' || s.ptr[i] == 0x7f)
            return false;
    return true;
}

static bool add(struct text *t, const char *data, size_t len)
{
    if (len >= sizeof(t->data) - t->len)
        return false;
    if (len > 0)
        memcpy(t->data + t->len, data, len);
    t->len += len;
    t->data[t->len] = '\0';
    return true;
}

/* One argument, or the value of a variable, behind what `t` holds. False: it cannot be given to a command. */
static bool fill(struct text *t, tern_str pattern, const struct values *v, bool is_argument)
{
    size_t begin = t->len;

    for (size_t i = 0; i < pattern.len;) {
        const struct variable *var = variable_at(pattern.ptr + i);
        tern_str s = { pattern.ptr + i, 1 };
        if (var != NULL)
            s = *(const tern_str *)((const char *)v + var->offset);
        bool option = var != NULL && is_argument && t->len == begin && s.len > 0 && s.ptr[0] == '-';
        if (option || (var != NULL && !is_harmless(s)) || !add(t, s.ptr, s.len))
            return false;
        i += var != NULL ? strlen(var->word) : 1;
    }
    return true;
}

/* A name of the system, if it shall be one: no path, no option. */
static bool is_plain_name(tern_str s)
{
    return s.len > 0 && s.len < USER_OCTETS_MAX && s.ptr[0] != '.' && s.ptr[0] != '-' && is_harmless(s) &&
           memchr(s.ptr, '/', s.len) == NULL;
}

static tern_str lower(tern_str s, char out[USER_OCTETS_MAX])
{
    if (s.len >= USER_OCTETS_MAX)
        return s;
    for (size_t i = 0; i < s.len; i++)
        out[i] = s.ptr[i] >= 'A' && s.ptr[i] <= 'Z' ? (char)(s.ptr[i] + 32) : s.ptr[i];
    out[s.len] = '\0';
    return (tern_str){ out, s.len };
}

static void set_values(const struct pipe_conf *c, tern_delivery *d, const struct tern_mailbox *m, struct values *v)
{
    tern_str base = m->local;

    *v = (struct values){ .sender = tern->delivery_sender(d)->address, .recipient = m->address, .local = m->local,
                          .id = tern->delivery_id(d) };
    for (size_t i = 1; i < m->local.len && base.len == m->local.len; i++)
        if (c->delimiter.len > 0 && memchr(c->delimiter.ptr, m->local.ptr[i], c->delimiter.len) != NULL) {
            base.len = i;
            v->extension = (tern_str){ m->local.ptr + i + 1, m->local.len - i - 1 };
        }
    v->user = lower(base, v->user_lower);
    v->domain = lower(m->domain.len > 0 ? m->domain : tern->hostname(), v->domain_lower);
}

/* ---- one recipient ---- */

/* Everything of one request that must live until it is answered. */
struct request {
    struct values values;
    struct text text;
    struct tern_local local;
    tern_str args[ARGS_MAX], env[ENV_MAX];
    char head[HEAD_OCTETS_MAX];
};

static bool fill_command(const struct pipe_conf *c, struct request *r)
{
    for (size_t i = 0; i < c->command.count; i++) {
        size_t begin = r->text.len;
        if (!fill(&r->text, c->command.items[i], &r->values, true))
            return false;
        r->args[i] = (tern_str){ r->text.data + begin, r->text.len - begin };
        if (!add(&r->text, "", 1))
            return false;
    }
    for (size_t i = 0; i < c->environment.count; i++) {
        size_t begin = r->text.len;
        tern_str key = c->environment.keys[i];
        if (!add(&r->text, key.ptr, key.len) || !add(&r->text, "=", 1) ||
            !fill(&r->text, c->environment.values[i], &r->values, false))
            return false;
        r->env[i] = (tern_str){ r->text.data + begin, r->text.len - begin };
        if (!add(&r->text, "", 1))
            return false;
    }
    r->local.argv = (struct tern_list){ r->args, c->command.count };
    r->local.env = (struct tern_list){ r->env, c->environment.count };
    return true;
}

static bool fill_user(const struct pipe_conf *c, struct request *r)
{
    size_t begin = r->text.len;

    if (!fill(&r->text, c->user, &r->values, true))
        return false;
    r->local.user = (tern_str){ r->text.data + begin, r->text.len - begin };
    return is_plain_name(r->local.user) && add(&r->text, "", 1);
}

static bool fill_head(const struct pipe_conf *c, struct request *r)
{
    const char *end = c->line_ends == 0 ? "\n" : "\r\n";
    int n = 0;

    if (c->head)
        n = snprintf(r->head, sizeof(r->head), "Return-Path: <%s>%sDelivered-To: %s%s", r->values.sender.ptr, end,
                     r->values.recipient.ptr, end);
    r->local.head = (tern_str){ r->head, (size_t)n };
    return n < (int)sizeof(r->head);
}

static void deliver_one(const struct pipe_conf *c, tern_delivery *d, unsigned index, struct request *r)
{
    const struct tern_mailbox *m = &tern->delivery_rcpt(d, index)->mailbox;
    bool chosen = strstr(c->user.ptr, "%{") != NULL;
    struct tern_local_answer answer;

    set_values(c, d, m, &r->values);
    r->text.len = 0;
    r->local = (struct tern_local){ .size = sizeof(r->local), .op = TERN_LOCAL_PIPE, .lf = c->line_ends == 0,
                                    .timeout_ms = c->timeout_ms, .output_octets = (unsigned)c->max_output };
    if (!fill_command(c, r) || !fill_user(c, r) || !fill_head(c, r)) {
        tern->delivery_outcome(d, index, TERN_REJECT, 550, "5.1.3", "This address cannot be given to a command");
        return;
    }
    tern->delivery_local(d, &r->local, &answer);
    struct local_outcome o = local_outcome(&answer, chosen);
    tern->delivery_outcome(d, index, o.verdict, o.code, o.enhanced, "%s", o.text);
}

static void deliver(tern_delivery *delivery, const void *conf)
{
    struct request *r = malloc(sizeof(*r));

    for (unsigned i = 0; r != NULL && i < tern->delivery_rcpt_count(delivery); i++)
        deliver_one(conf, delivery, i, r);
    free(r);
}

/* ---- options ---- */

static void check_words(struct tern_config *config, const char *key, tern_str s)
{
    for (const char *p = strstr(s.ptr, "%{"); p != NULL; p = strstr(p + 2, "%{"))
        if (variable_at(p) == NULL)
            tern->config_error(config, key, "\"%.20s\" is none of %%{sender}, %%{recipient}, %%{user}, %%{local}, "
                               "%%{extension}, %%{domain}, %%{id}", p);
}

static bool is_name(tern_str s)
{
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        bool letter = (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
        if (!letter && (i == 0 || c < '0' || c > '9'))
            return false;
    }
    return s.len > 0;
}

static int check(void *conf, struct tern_config *config)
{
    const struct pipe_conf *c = conf;

    if (c->command.count > 0 && (c->command.items[0].ptr[0] != '/' || strchr(c->command.items[0].ptr, '%') != NULL))
        tern->config_error(config, "command", "expected the absolute path of a program first, and nothing variable in "
                           "it");
    else if (c->command.count > 0)
        tern->config_local(config, "command", TERN_LOCAL_COMMAND, c->command.items[0]);
    for (size_t i = 0; i < c->command.count; i++)
        check_words(config, "command", c->command.items[i]);
    if (c->environment.count > ENV_MAX)
        tern->config_error(config, "environment", "more than 32 variables");
    for (size_t i = 0; i < c->environment.count; i++) {
        if (!is_name(c->environment.keys[i]))
            tern->config_error(config, "environment", "\"%s\" is no name of a variable", c->environment.keys[i].ptr);
        else if (variable_is_code(c->environment.keys[i].ptr, c->environment.keys[i].len))
            tern->config_error(config, "environment", "\"%s\" can make a program run other code: set it in a script of "
                               "root's and make that the command", c->environment.keys[i].ptr);
        check_words(config, "environment", c->environment.values[i]);
    }
    check_words(config, "user", c->user);
    if (c->user.len == 0 || strcmp(c->user.ptr, "root") == 0)
        tern->config_error(config, "user", "expected whom the command runs as, and not root");
    else
        tern->config_local(config, "user", TERN_LOCAL_USER, c->user);
    return 0;
}

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    return 0;
}

static const struct tern_option options[] = {
    TERN_OPTION_LIST(struct pipe_conf, command, NULL, 1, ARGS_MAX,
                     "Program and arguments; no shell. Variables fill one argument each."),
    TERN_OPTION_STRING(struct pipe_conf, user, NULL, "Whom it runs as; %{user} and %{local} as in command."),
    TERN_OPTION_MAP(struct pipe_conf, environment, "", "Its whole environment: name and value."),
    TERN_OPTION_STRING(struct pipe_conf, delimiter, "+", "Characters that begin a tag in the local part."),
    TERN_OPTION_MS(struct pipe_conf, timeout, "60s", 1000, 240000, "Time for it; then it is ended, and tried again."),
    TERN_OPTION_SIZE(struct pipe_conf, max_output, "300", 0, 350,
                     "So much of what it says is kept, for log and bounce."),
    TERN_OPTION_BOOL(struct pipe_conf, head, "true", "Return-Path and Delivered-To on top."),
    TERN_OPTION_ENUM(struct pipe_conf, line_ends, "lf", ends, "Line ends that it reads: lf or crlf."),
    TERN_OPTIONS_END,
};

static const struct tern_transport transport = {
    .size = sizeof(struct tern_transport), .type = "pipe", .summary = "To a command on this machine.",
    .options = options, .conf_size = sizeof(struct pipe_conf), .deliver = deliver, .check = check,
};
static const struct tern_transport *const transports[] = { &transport, NULL };

TERN_MODULE(.name = "pipe", .summary = "Transport: give mail to a command.", .init = init, .transports = transports)
