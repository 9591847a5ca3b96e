/* SPDX-License-Identifier: Apache-2.0 */
/*
 * main.c - the program tern-local. Only the supervisor starts it, with two descriptors: the socket on which requests
 * come, and the rules of supervisor.conf that it has read.
 */
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "local/serve.h"

int main(void)
{
    static struct local_rules rules;
    struct rlimit none = { 0, 0 };
    struct stat st;

    if (fstat(LOCAL_REQUESTS_FD, &st) < 0 || !S_ISSOCK(st.st_mode) ||
        pread(LOCAL_RULES_FD, &rules, sizeof(rules), 0) != (ssize_t)sizeof(rules) ||
        rules.magic != LOCAL_RULES_MAGIC || rules.octets != sizeof(rules)) {
        (void)fprintf(stderr, "tern-local is started by `tern serve` of the same version, not by hand\n");
        return 64;
    }
    (void)close(LOCAL_RULES_FD);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* passwords pass through */
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)umask(077);
    if (chdir("/") < 0)
        return 71;
    return local_serve(LOCAL_REQUESTS_FD, &rules);
}
