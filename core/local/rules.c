/* SPDX-License-Identifier: Apache-2.0 */
#include "local/rules.h"

#include <string.h>

void local_rules_default(struct local_rules *rules)
{
    *rules = (struct local_rules){ .magic = LOCAL_RULES_MAGIC, .octets = sizeof(*rules), .uid_min = LOCAL_UID_MIN,
                                   .pam_user = "root" };
}

const char *local_rules_refuse_user(const struct local_rules *rules, uid_t uid, gid_t gid, uid_t own)
{
    if (uid == 0 || gid == 0)
        return "root, and whoever is of its group, gets no mail here";
    if (own != 0)
        return uid == own ? NULL : "without root there is but one user";
    if (uid == (uid_t)-1 || gid == (gid_t)-1 || uid < rules->uid_min)
        return "the user's number is below uid_min of supervisor.conf";
    return NULL;
}

/* No component that is empty, "." or "..": what is compared is what is opened. */
static bool is_straight(const char *path)
{
    if (path[0] != '/')
        return false;
    while (*path == '/') {
        size_t n = strcspn(++path, "/");
        if (n == 0 || (n == 1 && path[0] == '.') || (n == 2 && path[0] == '.' && path[1] == '.'))
            return false;
        path += n;
    }
    return true;
}

static bool is_below(const char *path, const char *folder)
{
    size_t len = strlen(folder);

    while (len > 0 && folder[len - 1] == '/')
        len--;
    return len > 0 && strncmp(path, folder, len) == 0 && path[len] == '/';
}

bool local_rules_allow_folder(const struct local_rules *rules, const char *path, const char *home)
{
    if (!is_straight(path))
        return false;
    if (home[0] == '/' && is_below(path, home))
        return true;
    for (unsigned i = 0; i < rules->folder_count; i++)
        if (is_below(path, rules->folders[i]))
            return true;
    return false;
}

bool local_rules_allow_command(const struct local_rules *rules, const char *path)
{
    for (unsigned i = 0; i < rules->command_count; i++)
        if (strcmp(path, rules->commands[i]) == 0)
            return true;
    return false;
}

bool local_rules_allow_service(const struct local_rules *rules, const char *name)
{
    for (unsigned i = 0; i < rules->service_count; i++)
        if (strcmp(name, rules->services[i]) == 0)
            return true;
    return false;
}
