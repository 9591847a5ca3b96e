/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cache.c - answers kept for their time to live, least recently used first to go.
 *
 * An entry lives as long as somebody reads it, even after the cache has dropped it.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "dns/private.h"

void dns_cache_init(struct dns_cache *cache, size_t entries_max, size_t octets_max)
{
    table_init(&cache->entries);
    list_init(&cache->used);
    cache->octets = 0;
    cache->octets_max = octets_max;
    cache->entries_max = entries_max;
}

static size_t entry_octets(const struct dns_entry *entry)
{
    return sizeof(*entry) + strlen(entry->key) + entry->arena.octets;
}

static void drop(struct dns_cache *cache, struct dns_entry *entry)
{
    assert(entry->cached);
    (void)table_remove(&cache->entries, slice_cstr(entry->key));
    list_remove(&entry->link);
    entry->cached = false;
    cache->octets -= entry_octets(entry);
    dns_entry_unref(entry);
}

void dns_cache_fini(struct dns_cache *cache)
{
    while (!list_empty(&cache->used))
        drop(cache, list_entry(cache->used.next, struct dns_entry, link));
    table_free(&cache->entries, NULL);
}

struct dns_entry *dns_cache_get(struct dns_cache *cache, const char *key, uint64_t now_ms)
{
    struct dns_entry *entry = table_get(&cache->entries, slice_cstr(key));

    if (entry == NULL)
        return NULL;
    if (now_ms >= entry->expires_ms) {
        drop(cache, entry);
        return NULL;
    }
    list_remove(&entry->link);
    list_push(&cache->used, &entry->link);
    uint64_t left_s = (entry->expires_ms - now_ms + 999) / 1000;
    for (size_t i = 0; i < entry->answer.count; i++)
        if (entry->records[i].ttl_s > left_s)
            entry->records[i].ttl_s = (uint32_t)left_s;
    entry->answer.ttl_s = entry->answer.ttl_s > 0 ? (uint32_t)((entry->expires_ms - now_ms) / 1000) : 0;
    entry->refs++;
    return entry;
}

void dns_cache_put(struct dns_cache *cache, struct dns_entry *entry, uint64_t now_ms,
                   uint32_t ttl_s)
{
    struct dns_entry *old = table_get(&cache->entries, slice_cstr(entry->key));
    size_t octets = entry_octets(entry);

    assert(!entry->cached && entry->key[0] != '\0');
    if (old != NULL)
        drop(cache, old);
    if (octets > cache->octets_max || cache->entries_max == 0)
        return;
    while (cache->entries.count >= cache->entries_max || cache->octets + octets > cache->octets_max)
        drop(cache, list_entry(cache->used.next, struct dns_entry, link));
    entry->expires_ms = now_ms + (uint64_t)ttl_s * 1000;
    entry->cached = true;
    entry->refs++;
    cache->octets += octets;
    list_push(&cache->used, &entry->link);
    (void)table_put(&cache->entries, slice_cstr(entry->key), entry);
}

struct dns_entry *dns_entry_new(const char *key)
{
    size_t len = strlen(key);
    struct dns_entry *entry = mem_zalloc(sizeof(*entry) + len + 1);

    memcpy(entry->key, key, len);
    list_init(&entry->link);
    arena_init(&entry->arena);
    entry->refs = 1;
    return entry;
}

void dns_entry_unref(struct dns_entry *entry)
{
    if (entry == NULL || --entry->refs > 0)
        return;
    assert(!entry->cached);
    arena_fini(&entry->arena);
    free(entry);
}

struct dns_entry *dns_entry_failed(const char *key, const char *error)
{
    struct dns_entry *entry = dns_entry_new(key);

    entry->answer.status = TERN_FAILED;
    entry->answer.error = error;
    return entry;
}

struct dns_entry *dns_entry_copy(const struct tern_dns_answer *answer)
{
    struct dns_entry *entry = dns_entry_new("");

    entry->answer = *answer;
    if (answer->error != NULL)
        entry->answer.error = arena_dup(&entry->arena, slice_cstr(answer->error));
    entry->records = arena_zalloc(&entry->arena, sizeof(entry->records[0]) * (answer->count + 1));
    for (size_t i = 0; i < answer->count; i++) {
        const struct tern_dns_record *from = &answer->records[i];
        entry->records[i] = *from;
        entry->records[i].text.ptr =
            arena_dup(&entry->arena, slice_make(from->text.ptr, from->text.len));
    }
    entry->answer.records = entry->records;
    return entry;
}
