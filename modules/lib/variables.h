/* SPDX-License-Identifier: Apache-2.0 */
/*
 * variables.h - names of variables that make a program run other code than its own: what sudo takes out, too. Who may
 * choose them needs no `commands`: LD_PRELOAD and a file that the user can read make any program his.
 *
 * Source: ld.so(8) "Secure-execution mode", bash(1), perlrun(1), python3(1), ruby(1), sudoers(5) env_delete.
 */
#ifndef LIB_VARIABLES_H
#define LIB_VARIABLES_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* `name` is without "=value". */
static inline bool variable_is_code(const char *name, size_t len)
{
    /* One that ends in '*' stands for all that begin so. */
    static const char *const all[] = {
        "LD_*", "GLIBC_TUNABLES", "GCONV_PATH", "LOCPATH", "BASH_ENV", "BASH_FUNC_*", "ENV", "SHELLOPTS", "BASHOPTS",
        "PS4", "IFS", "PERL5*", "PERLLIB", "PERLIO*", "PYTHON*", "RUBYOPT", "RUBYLIB", "NODE_OPTIONS", "NODE_PATH",
    };

    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        size_t n = strlen(all[i]);
        bool begins = all[i][n - 1] == '*';
        n -= begins;
        if ((len == n || (begins && len > n)) && memcmp(name, all[i], n) == 0)
            return true;
    }
    return false;
}

#endif
