/* SPDX-License-Identifier: Apache-2.0 */
/*
 * abi_v1.c - a module that uses as much of <tern/module.h> 1.0 as there is.
 *
 * Kept as source, with the header it was built from and the shared object that came out
 * (tests/abi/make.sh). Every later build loads that object: whoever moves a field or a function finds
 * out here, not at a user's. Never edit it after the release of 1.0.
 */
#include <tern/module.h>

#include <string.h>

static const struct tern_api *tern;
static void *counter, *histogram;
static int state;

struct record {
    tern_str host;
    unsigned port;
};

struct abi_conf {
    bool flag;
    int64_t offset;
    unsigned count;
    uint64_t room;
    uint64_t delay_s;
    uint64_t pause_ms;
    struct tern_rate rate;
    unsigned share;
    tern_str word;
    int colour;
    struct tern_list list;
    struct tern_map map;
    const struct tern_cidrs *nets;
    tern_address address;
    tern_str file;
    tern_str key;
    const struct tern_table *names;
    struct tern_records records;
};

static const char *const colours[] = { "red", "green", "blue", NULL };

static const struct tern_option record_options[] = {
    TERN_OPTION_STRING(struct record, host, NULL, "A host."),
    TERN_OPTION_UINT(struct record, port, "25", 1, 65535, "A port."),
    TERN_OPTIONS_END,
};

static const struct tern_option options[] = {
    TERN_OPTION_BOOL(struct abi_conf, flag, "true", "A flag."),
    TERN_OPTION_INT(struct abi_conf, offset, "-5", -10, 10, "A number with a sign."),
    TERN_OPTION_UINT(struct abi_conf, count, "7", 1, 100, "A number."),
    TERN_OPTION_SIZE(struct abi_conf, room, "64KB", 1, 1 << 30, "Octets."),
    TERN_OPTION_SECONDS(struct abi_conf, delay, "5m", 1, 86400, "Seconds."),
    TERN_OPTION_MS(struct abi_conf, pause, "300ms", 1, 60000, "Milliseconds."),
    TERN_OPTION_RATE(struct abi_conf, rate, "100/1m", "A rate."),
    TERN_OPTION_PERCENT(struct abi_conf, share, "20%", "A share."),
    TERN_OPTION_STRING(struct abi_conf, word, "plain", "A word."),
    TERN_OPTION_ENUM(struct abi_conf, colour, "green", colours, "One of three."),
    TERN_OPTION_LIST(struct abi_conf, list, "", 0, 9, "A list."),
    TERN_OPTION_MAP(struct abi_conf, map, "", "A map."),
    TERN_OPTION_CIDRS(struct abi_conf, nets, "", "Networks."),
    TERN_OPTION_ADDRESS(struct abi_conf, address, "", "An address."),
    TERN_OPTION_PATH(struct abi_conf, file, "", "A path."),
    TERN_OPTION_SECRET(struct abi_conf, key, "", "A secret."),
    TERN_OPTION_TABLE(struct abi_conf, names, "", "A table."),
    TERN_OPTION_RECORDS(struct abi_conf, records, record_options, struct record, 0, 9, "Records."),
    TERN_OPTIONS_END,
};

/* Says all that the options hold, in one line. */
static void say_options(tern_call *call, const struct abi_conf *c)
{
    const struct record *records = c->records.items;

    tern->log(
        call, TERN_LOG_INFO,
        "%d %lld %u %llu %llu %llu %llu/%llu %u %s %d list=%zu:%s map=%zu:%s=%s addr=%u.%u:%u "
        "file=%s key=%s records=%zu:%s:%u nets=%d names=%d",
        c->flag, (long long)c->offset, c->count, (unsigned long long)c->room,
        (unsigned long long)c->delay_s, (unsigned long long)c->pause_ms,
        (unsigned long long)c->rate.count, (unsigned long long)c->rate.per_ms, c->share,
        c->word.ptr, c->colour, c->list.count, c->list.count > 0 ? c->list.items[0].ptr : "",
        c->map.count, c->map.count > 0 ? c->map.keys[0].ptr : "",
        c->map.count > 0 ? c->map.values[0].ptr : "", c->address.family, c->address.octets[3],
        c->address.port, c->file.len > 0 ? strrchr(c->file.ptr, '/') : "", c->key.ptr,
        c->records.count, c->records.count > 0 ? records[0].host.ptr : "",
        c->records.count > 0 ? records[0].port : 0, c->nets != NULL, c->names != NULL);
}

static void say_session(tern_call *call)
{
    const tern_address *a = tern->client_address(call);

    tern->log(call, TERN_LOG_DEBUG, "%u %u %u %s %s %s %s %s %s %d %d", a->family, a->octets[0],
              a->port, tern->client_address_text(call).ptr, tern->session_id(call).ptr,
              tern->listener_name(call).ptr, tern->policy_name(call).ptr, tern->helo_name(call).ptr,
              tern->user(call).ptr, tern->is_esmtp(call), tern->is_tls(call));
}

static void say_mailbox(tern_call *call, const struct tern_mailbox *m)
{
    tern->log(call, TERN_LOG_WARNING, "%s %s %s", m->address.ptr, m->local.ptr, m->domain.ptr);
}

static void say_transaction(tern_call *call)
{
    const struct tern_recipient *r = tern->rcpt(call, 1), *now = tern->current_rcpt(call);

    tern->log(call, TERN_LOG_ERROR, "%s %d %llu %u", tern->queue_id(call).ptr,
              tern->is_smtputf8(call), (unsigned long long)tern->declared_size(call),
              tern->rcpt_count(call));
    say_mailbox(call, tern->sender(call));
    say_mailbox(call, tern->sender_original(call));
    say_mailbox(call, &r->mailbox);
    say_mailbox(call, &r->original);
    tern->log(call, TERN_LOG_INFO, "%u %s %d", r->class_, r->claimed_by.ptr, now == NULL);
}

static void say_message(tern_call *call)
{
    char body[8] = "";
    const struct tern_header *at = tern->header_at(call, 1),
                             *named = tern->header(call, "Subject", 2);
    const struct tern_part *p;

    tern->log(call, TERN_LOG_INFO, "%llu %u %s=%s %s=%s %lld %llu",
              (unsigned long long)tern->message_octets(call), tern->header_count(call),
              at->name.ptr, at->value.ptr, named->name.ptr, named->value.ptr,
              (long long)tern->body_read(call, 3, body, sizeof(body) - 1),
              (unsigned long long)tern->body_octets(call));
    p = tern->part_count(call) > 0 ? tern->part(call, 0) : NULL;
    tern->log(call, TERN_LOG_INFO, "%s %s %s %s %s %llu %llu %u", body, p->type.ptr, p->charset.ptr,
              p->filename.ptr, p->encoding.ptr, (unsigned long long)p->offset,
              (unsigned long long)p->size, p->depth);
    tern_str result = tern->result(call, "abi");
    bool tagged = tern->has_tag(call, "abi_tag");
    tern_str var = tern->var(call, "v");
    tern->log(call, TERN_LOG_INFO, "%s %d %s %s %s", result.ptr, tagged, var.ptr,
              tern->outcome(call).ptr, tern->outcome_text(call).ptr);
}

static void edit(tern_call *call)
{
    static const struct tern_address nobody = { .family = 4 };
    int sum = 0;

    sum += tern->claim(call, TERN_CLASS_RELAY);
    sum += tern->tag(call, "abi_tag");
    sum += tern->set_result(call, "abi", TERN_STR("yes"));
    sum += tern->set_var(call, "v", TERN_STR("1"));
    tern->note(call, "k", TERN_STR("n"));
    sum += tern->rewrite_sender(call, TERN_STR("s@x"));
    sum += tern->rewrite_rcpt(call, TERN_STR("r@x"));
    sum += tern->expand_rcpt(call, TERN_STR("e@x"));
    sum += tern->add_rcpt(call, TERN_STR("a@x"));
    sum += tern->header_prepend(call, "P", TERN_STR("p"));
    sum += tern->header_append(call, "A", TERN_STR("a"));
    sum += tern->header_replace(call, "R", 4, TERN_STR("r"));
    sum += tern->header_remove(call, "D", 5);
    sum += tern->withhold(call, "SIZE");
    tern->log(call, TERN_LOG_INFO, "%d %d %d %s %s", sum, tern->cidrs_match(NULL, &nobody),
              tern->table_empty(NULL), tern->hostname().ptr, tern->step_name(call).ptr);
}

static void on_kv(tern_call *call, const void *conf, const struct tern_kv_answer *answer)
{
    (void)conf;
    tern->log(call, TERN_LOG_INFO, "kv %u %lld %s", answer->status, (long long)answer->number,
              answer->value.ptr);
}

static void on_dns(tern_call *call, const void *conf, const struct tern_dns_answer *answer,
                   void *arg)
{
    (void)conf;
    tern->log(call, TERN_LOG_INFO, "dns %u %s %zu %s %u %u %d %d", answer->status,
              answer->error != NULL ? answer->error : "-", answer->count,
              answer->records[0].text.ptr, answer->records[0].number, answer->records[0].ttl_s,
              answer->authentic, arg == &state);
}

static void on_table(tern_call *call, const void *conf, const struct tern_table_answer *answer)
{
    (void)conf;
    tern->log(call, TERN_LOG_INFO, "table %u %s", answer->status, answer->value.ptr);
}

static void on_time(tern_call *call, const void *conf)
{
    (void)conf;
    tern->complete(call, TERN_HOLD);
}

static tern_verdict on_connect(tern_call *call, const void *conf)
{
    say_options(call, conf);
    say_session(call);
    return TERN_NEXT;
}

static tern_verdict on_rcpt(tern_call *call, const void *conf)
{
    const struct abi_conf *c = conf;

    say_transaction(call);
    edit(call);
    (void)tern->dns(call, "name.example", TERN_DNS_TXT, on_dns, &state);
    (void)tern->kv_put_new(call, "s", TERN_STR("a"), 1, 2, on_kv);
    (void)tern->kv_get(call, "s", TERN_STR("b"), on_kv);
    (void)tern->kv_put(call, "s", TERN_STR("c"), 3, TERN_STR("v"), 4, on_kv);
    (void)tern->kv_add(call, "s", TERN_STR("d"), 5, 6, on_kv);
    (void)tern->kv_remove(call, "s", TERN_STR("e"), on_kv);
    (void)tern->table_find(call, c->names, TERN_STR("f"), on_table);
    return tern->after_ms(call, 7, on_time);
}

static tern_verdict on_message(tern_call *call, const void *conf)
{
    struct tern_table_answer found = { .status = TERN_ABSENT };
    struct tern_dns_answer dns = { .status = TERN_FAILED };
    struct tern_kv_answer kv = { .status = TERN_FAILED };
    const struct abi_conf *c = conf;

    say_message(call);
    *tern->slot(call) = tern->alloc(call, 16);
    tern_call *held = tern->call_ref(call);
    int r = tern->table_peek(call, c->names, TERN_STR("g"), &found);
    r += tern->dns_sync(held, "sync.example", TERN_DNS_MX, &dns);
    r += tern->kv_get_sync(call, "s", TERN_STR("h"), &kv);
    r += tern->kv_put_sync(call, "s", TERN_STR("i"), 8, TERN_STR("w"), 9);
    r += tern->table_find_sync(call, c->names, TERN_STR("j"), &found);
    tern->call_unref(held);
    tern->counter_add(counter, 3);
    tern->histogram_observe(histogram, 4);
    tern->log(call, TERN_LOG_INFO, "%d %u %u %u %lld %lld %s %d", r, found.status, dns.status,
              kv.status, (long long)tern->now_s(call), (long long)tern->now_ms(call),
              tern->format(call, "%s-%d", "f", 1).ptr, tern->state(call) == &state);
    return tern->hold(call, "because of %d", 12);
}

static tern_verdict on_mail(tern_call *call, const void *conf)
{
    (void)conf;
    return tern->reply(call, TERN_REJECT, 550, "5.7.1", "no, %s", "thanks");
}

static tern_verdict on_route(tern_call *call, const void *conf)
{
    const struct abi_conf *c = conf;
    const struct tern_route route = { .size = sizeof(route),
                                      .transport = TERN_STR("smtp"),
                                      .to = c->list,
                                      .fallback = c->list,
                                      .source = TERN_STR("127.0.0.1"),
                                      .discard_reason = TERN_STR("") };

    return tern->set_route(call, &route) == 0 ? TERN_ACCEPT : TERN_ERROR;
}

static tern_verdict on_any(tern_call *call, const void *conf)
{
    (void)call;
    (void)conf;
    return TERN_NEXT;
}

static void on_abort(tern_call *call, const void *conf)
{
    (void)conf;
    tern->log(call, TERN_LOG_INFO, "aborted");
}

static const struct tern_hook hooks[] = {
    { TERN_HOOK(CONNECT, on_connect),
      .answers = TERN_MAY_REJECT | TERN_MAY_DEFER | TERN_MAY_CLOSE },
    { TERN_HOOK(TLS, on_any) },
    { TERN_HOOK(EHLO, on_any), .answers = TERN_MAY_REJECT },
    { TERN_HOOK(MAIL, on_mail), .answers = TERN_MAY_REJECT },
    { TERN_HOOK(RCPT, on_rcpt), .answers = TERN_MAY_REJECT | TERN_MAY_HOLD | TERN_MAY_DISCARD,
      .flags = TERN_CLAIMS, .on_abort = on_abort },
    { TERN_HOOK(DATA, on_any), .answers = TERN_MAY_DEFER },
    { TERN_HOOK(MESSAGE, on_message), .answers = TERN_MAY_HOLD,
      .flags = TERN_ONCE | TERN_BLOCKING },
    { TERN_HOOK(QUEUE, on_any), .answers = TERN_MAY_DISCARD },
    { TERN_HOOK(SIGN, on_any), .answers = TERN_MAY_DEFER },
    { TERN_HOOK(ROUTE, on_route), .answers = TERN_MAY_ACCEPT },
    { TERN_HOOK(DELIVER, on_any), .answers = TERN_MAY_HOLD },
    { TERN_HOOK(RESULT, on_any) },
    { TERN_HOOK(CLOSE, on_any) },
    TERN_HOOKS_END,
};

static const char *const abi_values[] = { "yes", "no", NULL };
static const struct tern_note notes[] = { TERN_RESULT("abi", abi_values, "A result."),
                                          TERN_TAG("abi_tag", "A tag."), TERN_NOTES_END };
static const char *const after[] = { "hello", NULL };
static const char *const before[] = { "routes", NULL };

/* ---- a transport and a store ---- */

static void deliver(tern_delivery *delivery, const void *conf)
{
    char octets[4] = "";
    int64_t n = tern->delivery_read(delivery, 2, octets, sizeof(octets) - 1);

    (void)conf;
    tern->log(NULL, TERN_LOG_INFO, "%s %s %u %s %llu %lld %s", tern->delivery_id(delivery).ptr,
              tern->delivery_sender(delivery)->address.ptr, tern->delivery_rcpt_count(delivery),
              tern->delivery_rcpt(delivery, 0)->mailbox.address.ptr,
              (unsigned long long)tern->delivery_octets(delivery), (long long)n, octets);
    tern->delivery_outcome(delivery, 0, TERN_DEFER, 451, "4.2.0", "try %s", "later");
}

struct box_conf {
    tern_str path;
};
static const struct tern_option box_options[] = {
    TERN_OPTION_PATH(struct box_conf, path, NULL, "Where."),
    TERN_OPTIONS_END,
};
static const struct tern_transport box = { .size = sizeof(box),
                                           .type = "abi_v1",
                                           .summary = "A transport.",
                                           .options = box_options,
                                           .conf_size = sizeof(struct box_conf),
                                           .deliver = deliver };
static const struct tern_transport *const transports[] = { &box, NULL };

static int store_open(const void *conf, void **ret_store, char *error, size_t error_octets)
{
    (void)conf;
    (void)error;
    (void)error_octets;
    *ret_store = &state;
    return 0;
}

static int store_load(void *store, void (*each)(void *arg, const struct tern_kv_change *),
                      void *arg)
{
    const struct tern_kv_change change = { TERN_STR("key"), TERN_STR("value"), 11, 12 };

    (void)store;
    each(arg, &change);
    return 0;
}

static int store_write(void *store, const struct tern_kv_change *changes, size_t count)
{
    (void)store;
    return count == 1 && changes[0].number == 13 && changes[0].expires_ms == 14 ? 0 : -EINVAL;
}

static void store_close(void *store)
{
    (void)store;
}

static const struct tern_kv_store store = { .size = sizeof(store),
                                            .type = "abi_v1",
                                            .options = box_options,
                                            .conf_size = sizeof(struct box_conf),
                                            .open = store_open,
                                            .load = store_load,
                                            .write = store_write,
                                            .close = store_close };

/* ---- life ---- */

static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    if (!TERN_HAS(api, delivery_outcome))
        return -ENOSYS;
    counter = api->counter("tern_abi_v1_total", "A counter.");
    histogram = api->histogram("tern_abi_v1_microseconds", "A histogram.");
    *ret_state = &state;
    return 0;
}

static void fini(void *at_end)
{
    *(int *)at_end = 1;
}

static int check(void *conf, struct tern_config *config)
{
    struct abi_conf *c = conf;

    if (tern->config_alloc(config, 8) == NULL ||
        !tern->config_has_transport(config, TERN_STR("smtp")))
        return -EINVAL;
    if (c->count == 99)
        tern->config_warning(config, "count", "%u is a lot", c->count);
    if (c->count != 100)
        return 0;
    tern->config_error(config, "count", "%u is too much", c->count);
    return -EINVAL;
}

TERN_MODULE(.name = "abi_v1", .summary = "All of ABI 1.0.", .options = options,
            .conf_size = sizeof(struct abi_conf), .hooks = hooks, .notes = notes, .after = after,
            .before = before, .init = init, .fini = fini, .check = check, .transports = transports,
            .kv_store = &store, .user = &state);
