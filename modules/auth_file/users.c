/* SPDX-License-Identifier: Apache-2.0 */
#include "users.h"

#include <lib/password.h>

#include <sodium.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct users {
    _Atomic unsigned refs;
    char *pool; /* names and entries, each with a NUL behind it; never moved, wiped in the end */
    size_t pool_octets, used;
    struct users_entry *entries;
    size_t count, room;
    uint32_t *slots; /* open addressing: index + 1 of an entry, 0 = free */
    size_t slot_count;
    uint8_t key[crypto_shorthash_KEYBYTES];
};

static void set_error(struct users_error *e, unsigned line, const char *what)
{
    e->line = line;
    (void)snprintf(e->what, sizeof(e->what), "%s", what);
}

struct users *users_ref(struct users *users)
{
    atomic_fetch_add_explicit(&users->refs, 1, memory_order_relaxed);
    return users;
}

void users_unref(struct users *users)
{
    if (users == NULL || atomic_fetch_sub_explicit(&users->refs, 1, memory_order_acq_rel) > 1)
        return;
    if (users->pool != NULL)
        sodium_memzero(users->pool, users->used);
    free(users->pool);
    free(users->entries);
    free(users->slots);
    free(users);
}

size_t users_count(const struct users *users)
{
    return users->count;
}

tern_str users_name(const struct users *users, const struct users_entry *entry)
{
    return (tern_str){ users->pool + entry->name_at, entry->name_octets };
}

tern_str users_stored(const struct users *users, const struct users_entry *entry, unsigned index)
{
    return (tern_str){ users->pool + entry->stored[index].at, entry->stored[index].octets };
}

/* ---- look-up ---- */

static uint64_t hash_of(const struct users *users, tern_str name)
{
    uint8_t folded[USERS_NAME_OCTETS_MAX];
    uint64_t hash;

    for (size_t i = 0; i < name.len; i++)
        folded[i] = (uint8_t)(name.ptr[i] >= 'A' && name.ptr[i] <= 'Z' ? name.ptr[i] + 32 : name.ptr[i]);
    (void)crypto_shorthash((uint8_t *)&hash, folded, name.len, users->key);
    return hash;
}

static bool is_named(const struct users *users, const struct users_entry *e, tern_str name)
{
    return e->name_octets == name.len && strncasecmp(users->pool + e->name_at, name.ptr, name.len) == 0;
}

/* The slot of this name, or the free one where it would stand. */
static uint32_t *slot_of(const struct users *users, tern_str name)
{
    size_t at = hash_of(users, name) & (users->slot_count - 1);

    while (users->slots[at] != 0 && !is_named(users, &users->entries[users->slots[at] - 1], name))
        at = (at + 1) & (users->slot_count - 1);
    return &users->slots[at];
}

const struct users_entry *users_find(const struct users *users, tern_str name)
{
    if (name.len == 0 || name.len > USERS_NAME_OCTETS_MAX)
        return NULL;
    uint32_t n = *slot_of(users, name);
    return n != 0 ? &users->entries[n - 1] : NULL;
}

const struct users_entry *users_decoy(const struct users *users, tern_str name)
{
    if (name.len > USERS_NAME_OCTETS_MAX)
        name.len = USERS_NAME_OCTETS_MAX;
    return users->count > 0 ? &users->entries[hash_of(users, name) % users->count] : NULL;
}

/* ---- building ---- */

static bool index_all(struct users *users, struct users_error *reterr)
{
    size_t slots = 16;

    while (slots < users->count * 2)
        slots *= 2;
    users->slots = calloc(slots, sizeof(users->slots[0]));
    users->slot_count = slots;
    if (users->slots == NULL) {
        set_error(reterr, 0, "no memory");
        return false;
    }
    for (size_t i = 0; i < users->count; i++) {
        struct users_entry *e = &users->entries[i];
        uint32_t *slot = slot_of(users, users_name(users, e));
        if (*slot != 0) {
            reterr->line = e->line;
            (void)snprintf(reterr->what, sizeof(reterr->what), "this user stands in line %u already",
                           users->entries[*slot - 1].line);
            return false;
        }
        *slot = (uint32_t)i + 1;
    }
    return true;
}

static size_t put(struct users *users, tern_str s)
{
    size_t at = users->used;

    if (s.len > 0)
        memcpy(users->pool + at, s.ptr, s.len);
    users->pool[at + s.len] = '\0';
    users->used += s.len + 1;
    return at;
}

static bool has_control(tern_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if ((unsigned char)s.ptr[i] < ' ' || s.ptr[i] == 0x7f)
            return true;
    return false;
}

static const char *name_trouble(tern_str name)
{
    if (name.len == 0)
        return "a user without a name";
    if (name.len > USERS_NAME_OCTETS_MAX)
        return "a user's name has more than 255 octets";
    return has_control(name) ? "a control character in a user's name" : NULL;
}

/* What the entry's octets can be is checked now: better an error at the start than one at each login. */
static bool is_usable(tern_str stored, unsigned line, struct users_error *reterr)
{
    struct password_stored parts;
    const char *why = "";

    if (stored.len == 0) {
        set_error(reterr, line, "the password is missing; write ! for a user who may not log in");
        return false;
    }
    if (has_control(stored)) {
        set_error(reterr, line, "a control character in the stored password");
        return false;
    }
    if (password_parse(stored, &parts, &why) == 0) {
        password_wipe(&parts);
        return true;
    }
    reterr->line = line;
    (void)snprintf(reterr->what, sizeof(reterr->what), "the stored password %s", why);
    return false;
}

static bool has_room(struct users *users)
{
    if (users->count < users->room)
        return true;
    size_t room = users->room > 0 ? users->room * 2 : 64;
    struct users_entry *more = realloc(users->entries, room * sizeof(more[0])); /* places only, no secrets */
    if (more == NULL)
        return false;
    users->entries = more;
    users->room = room;
    return true;
}

bool users_add(struct users *users, tern_str name, tern_str stored, unsigned line, bool again,
               struct users_error *reterr)
{
    const char *trouble = name_trouble(name);

    if (trouble == NULL && users->count >= USERS_MAX && !again)
        trouble = "more than 1000000 users";
    if (trouble == NULL && (users->used + name.len + stored.len + 2 > users->pool_octets || !has_room(users)))
        trouble = "no memory";
    if (trouble == NULL && again && users->entries[users->count - 1].count == USERS_ENTRIES_MAX)
        trouble = "more than 4 entries for one user";
    if (trouble != NULL) {
        set_error(reterr, line, trouble);
        return false;
    }
    if (!is_usable(stored, line, reterr))
        return false;
    if (!again)
        users->entries[users->count++] = (struct users_entry){
            .name_at = put(users, name), .name_octets = (unsigned)name.len, .line = line
        };
    struct users_entry *e = &users->entries[users->count - 1];
    e->stored[e->count].octets = (unsigned)stored.len;
    e->stored[e->count++].at = put(users, stored);
    return true;
}

/* ---- lines ---- */

static tern_str cut(tern_str *rest, char end)
{
    const char *p = memchr(rest->ptr, end, rest->len);
    tern_str part = { rest->ptr, p != NULL ? (size_t)(p - rest->ptr) : rest->len };
    size_t used = part.len + (p != NULL);

    rest->ptr += used;
    rest->len -= used;
    return part;
}

static bool is_number(tern_str s)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return false;
    return true;
}

static tern_str trim(tern_str s)
{
    while (s.len > 0 && (s.ptr[s.len - 1] == '\r' || s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    return s;
}

static bool take_line(struct users *users, tern_str line, unsigned number, struct users_error *reterr)
{
    line = trim(line);
    if (line.len == 0 || line.ptr[0] == '#')
        return true;
    if (memchr(line.ptr, ':', line.len) == NULL) {
        set_error(reterr, number, "expected user:entry");
        return false;
    }
    tern_str name = trim(cut(&line, ':')), stored = trim(cut(&line, ':'));
    /* uid and gid are numbers or empty. Else the colon is part of a password that would be cut there. */
    if (!is_number(cut(&line, ':')) || !is_number(cut(&line, ':'))) {
        set_error(reterr, number, "a colon inside the entry (use YAML), or a uid that is no number");
        return false;
    }
    return users_add(users, name, stored, number, false, reterr);
}

static bool take_lines(struct users *users, tern_str text, struct users_error *reterr)
{
    for (unsigned number = 1; text.len > 0; number++)
        if (!take_line(users, cut(&text, '\n'), number, reterr))
            return false;
    return true;
}

struct users *users_parse(const char *text, size_t octets, enum users_format format, struct users_error *reterr)
{
    struct users *users = octets <= USERS_FILE_OCTETS_MAX ? calloc(1, sizeof(*users)) : NULL;

    if (users == NULL) {
        set_error(reterr, 0, octets > USERS_FILE_OCTETS_MAX ? "larger than 64 MB" : "no memory");
        return NULL;
    }
    atomic_init(&users->refs, 1);
    randombytes_buf(users->key, sizeof(users->key));
    /* An escape of YAML (\L) may be half as long as what it stands for; and two NULs per user. */
    users->pool_octets = octets * 2 + 16;
    users->pool = calloc(1, users->pool_octets);
    bool ok = users->pool != NULL;
    if (!ok)
        set_error(reterr, 0, "no memory");
    else
        ok = format == USERS_YAML ? users_parse_yaml(users, text, octets, reterr)
                                  : take_lines(users, (tern_str){ text, octets }, reterr);
    if (ok && index_all(users, reterr))
        return users;
    users_unref(users);
    return NULL;
}
