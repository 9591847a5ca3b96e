/* SPDX-License-Identifier: Apache-2.0 */
#include "server/watch.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net/loop.h"

#define NS_PER_MS 1000000

/* ---- the decision ---- */

bool watch_is_due(struct watch *w, uint64_t beat_ms, uint64_t now_ms)
{
    if (beat_ms != w->beat_ms)
        *w = (struct watch){ .beat_ms = beat_ms };
    return beat_ms != 0 && now_ms > beat_ms + LOOP_HEARTBEAT_MS && now_ms >= w->looked_ms + WATCH_LOOK_MS_MIN;
}

static bool is_stopped(const struct watch_look *l)
{
    return l->state == 'T' || l->state == 't';
}

/* Of `passed_ms` between two looks, how much it did not wait. */
static uint64_t own_ms(const struct watch_look *before, const struct watch_look *after, uint64_t passed_ms)
{
    if (!before->known || !after->known)
        return passed_ms;
    if (is_stopped(before) || is_stopped(after))
        return 0;
    if (after->state == 'R' && after->ran_ns == before->ran_ns)
        return 0; /* it waits still */
    uint64_t waited_ms = (after->waited_ns - before->waited_ns) / NS_PER_MS;
    return waited_ms < passed_ms ? passed_ms - waited_ms : 0;
}

bool watch_hangs(struct watch *w, uint64_t now_ms, const struct watch_look *look, uint64_t limit_ms)
{
    uint64_t passed_ms = w->looked_ms != 0 ? now_ms - w->looked_ms : 0;

    if (passed_ms > WATCH_LOOK_MS_MAX)
        passed_ms = WATCH_LOOK_MS_MAX;
    w->hung_ms += own_ms(&w->last, look, passed_ms);
    w->last = *look;
    w->looked_ms = now_ms;
    return w->hung_ms >= limit_ms;
}

/* ---- /proc ---- */

/* "1 (a name, perhaps with blanks and parentheses) R ...", and three numbers, all 0 where the kernel does not count. */
void watch_parse(const char *stat, const char *schedstat, struct watch_look *ret)
{
    const char *name_end = strrchr(stat, ')');
    unsigned long long ran, waited;

    *ret = (struct watch_look){ 0 };
    if (name_end == NULL || name_end[1] != ' ' || name_end[2] == '\0')
        return;
    if (sscanf(schedstat, "%llu %llu", &ran, &waited) != 2 || ran == 0)
        return;
    *ret = (struct watch_look){ .known = true, .state = name_end[2], .ran_ns = ran, .waited_ns = waited };
}

static void read_text(pid_t pid, pid_t thread, const char *name, char *out, size_t octets)
{
    char path[64];
    ssize_t n = -1;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/%s", (int)pid, (int)thread, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        n = read(fd, out, octets - 1);
        (void)close(fd);
    }
    out[n > 0 ? n : 0] = '\0';
}

void watch_read(pid_t pid, pid_t thread, struct watch_look *ret)
{
    char stat[512], schedstat[128];

    read_text(pid, thread, "stat", stat, sizeof(stat));
    read_text(pid, thread, "schedstat", schedstat, sizeof(schedstat));
    watch_parse(stat, schedstat, ret);
}
