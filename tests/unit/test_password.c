/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_password.c - modules/lib: which password fits which entry, what is refused and why, and the
 * success cache. Entries marked "doveadm", "mkpasswd" or "openssl" were made by those.
 */
#include <CUnit/Basic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <lib/auth_cache.h>
#include <lib/password.h>

static tern_str str(const char *s)
{
    return (tern_str){ s, strlen(s) };
}

/* All of the password "pass word". */
static const struct {
    const char *name, *entry;
} right[] = {
    { "argon2id, doveadm",
      "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$z0NFKJDjHaWS0PIUK9DVCA$44Ek2CUbB+x1kC7oehIlhB7QhBajJKKFaPoPi1jR6yg" },
    { "argon2id without a scheme",
      "$argon2id$v=19$m=65536,t=3,p=1$z0NFKJDjHaWS0PIUK9DVCA$44Ek2CUbB+x1kC7oehIlhB7QhBajJKKFaPoPi1jR6yg" },
    { "bcrypt, doveadm", "{BLF-CRYPT}$2y$05$pBCkwCO3qfb1EYIseUz7UuuYkUvYjqdxpEIFe.IM4Z90ctxpH9Dc." },
    { "bcrypt by {CRYPT}", "{CRYPT}$2y$05$pBCkwCO3qfb1EYIseUz7UuuYkUvYjqdxpEIFe.IM4Z90ctxpH9Dc." },
    { "sha512-crypt, doveadm", "{SHA512-CRYPT}$6$7F1rz4ukzLoR0PO1$e/00/"
                               "Ao3FVzLaF.xqBHxEE6yvcqs.NqvWvKTx7GOwrTR3kPsRrEADBwGI/vGoq1411nO9CG5AXg2JPM4sqYlz0" },
    { "sha512-crypt without a scheme", "$6$7F1rz4ukzLoR0PO1$e/00/"
                                       "Ao3FVzLaF.xqBHxEE6yvcqs.NqvWvKTx7GOwrTR3kPsRrEADBwGI/vGoq1411nO9CG5AXg2JPM4sqYlz0" },
    { "sha512-crypt in base64, doveadm",
      "{SHA512-CRYPT.B64}JDYkbi9vZU4wRXlaZHhIVVVvcCRIRmdPbGhPYnZ1bE40MHhsOW91SXlsdU0wRE5qUFBQcUlzdlpmWUFVRldaamFrQndOVVhDU"
      "Eg1VzdTNFNiUXA1QU9uOXpVLy9tL0l0dmpaV01qWldLMA==" },
    { "sha256-crypt, doveadm", "{SHA256-CRYPT}$5$YDRAnGShWbfLDJfY$Xs4/ZRcA4VKbshVxGtpJszE1NJpNsh2MWtF2ORiOPlD" },
    { "md5-crypt, doveadm", "{MD5-CRYPT}$1$Pa6fPTPi$p5rdOhKzJMisn2zBWLKIv1" },
    { "md5-crypt by Dovecot's {MD5}", "{MD5}$1$Pa6fPTPi$p5rdOhKzJMisn2zBWLKIv1" },
    { "ssha, doveadm", "{SSHA}Cx0wtYCEUZ8rS5T8LC1qKZfEWvJRv9ef" },
    { "ssha, name in another case", "{ssha}Cx0wtYCEUZ8rS5T8LC1qKZfEWvJRv9ef" },
    { "ssha256, doveadm", "{SSHA256}2ZeJ3G2132vJaHMptrTnn0o3lfzJmbsKlh0hZ0W0CHeF/l1L" },
    { "ssha512, doveadm",
      "{SSHA512}rO89fvcAmBUvas63QBWvMgArd0RC9TbNsxkCnM2bcyTYkwDKnSR7vBhRcsHT1kNSVIl4c8USlxO9BsqN7w6tPCcZ0qc=" },
    { "smd5, doveadm", "{SMD5}OMBEHxLLnUPHgwCAGmIi3Ojhv1s=" },
    { "md5 of a directory, doveadm", "{LDAP-MD5}SsZDChfQIVswUrFch51IvA==" },
    { "md5 of a directory", "{MD5}SsZDChfQIVswUrFch51IvA==" },
    { "md5 in hex, doveadm", "{PLAIN-MD5}4ac6430a17d0215b3052b15c879d48bc" },
    { "sha256 in hex, said, doveadm", "{SHA256.HEX}78980e257f412437fbf9343787bc00ec5b10636429bc000b290107335b089786" },
    { "sha256 in hex, seen", "{SHA256}78980e257f412437fbf9343787bc00ec5b10636429bc000b290107335b089786" },
    { "scram-sha-256, doveadm", "{SCRAM-SHA-256}4096,LUyyq8DBYYJUzhQvJNN4HQ==,fMY05bKX8Mp1J2ayFDuqcd7N/"
                                "5Z9XFnTKu3XPxGxRv0=,caAO0ljGhN2XguDrFiXaY8XlmLPc6BT0Ee+QFbKNlSw=" },
    { "scram-sha-256 as PostgreSQL writes it", "SCRAM-SHA-256$4096:LUyyq8DBYYJUzhQvJNN4HQ==$fMY05bKX8Mp1J2ayFDuqcd7N/"
                                               "5Z9XFnTKu3XPxGxRv0=:caAO0ljGhN2XguDrFiXaY8XlmLPc6BT0Ee+QFbKNlSw=" },
    { "scram-sha-1, doveadm",
      "{SCRAM-SHA-1}4096,FsB/FILi6jqcz4ghqmFJsg==,UVjryMxoLWdwJvFFH8kUqk4/Avs=,AHD8MHtepMdDNyrvnLlOE+eSRcQ=" },
    { "in clear", "{PLAIN}pass word" },
    { "in clear, hex", "{CLEARTEXT.hex}7061737320776f7264" },
    { "in clear, base64 without padding", "{PLAIN.b64}cGFzcyB3b3Jk" },
};

static const char *const wrong_passwords[] = { "", "pass worD", "pass wor", "pass word ", "password", "$6$", "*0" };

static void test_fits(void)
{
    for (size_t i = 0; i < sizeof(right) / sizeof(right[0]); i++) {
        const char *why = "";
        enum password_answer a = password_verify(str(right[i].entry), str("pass word"), &why);
        if (a != PASSWORD_RIGHT)
            fprintf(stderr, "  entry \"%s\": %d %s\n", right[i].name, a, why);
        CU_ASSERT_EQUAL(a, PASSWORD_RIGHT);
        size_t tries = strstr(right[i].entry, "argon2") != NULL ? 2 : sizeof(wrong_passwords) / sizeof(wrong_passwords[0]);
        for (size_t n = 0; n < tries; n++)
            CU_ASSERT_EQUAL(password_verify(str(right[i].entry), str(wrong_passwords[n]), &why), PASSWORD_WRONG);
        /* A NUL ends nothing. */
        CU_ASSERT_EQUAL(password_verify(str(right[i].entry), (tern_str){ "pass word\0x", 11 }, &why), PASSWORD_WRONG);
        if (tries > 2) /* the entry itself opens nothing */
            CU_ASSERT_EQUAL(password_verify(str(right[i].entry), str(right[i].entry), &why), PASSWORD_WRONG);
    }
}

static const struct {
    const char *name, *entry, *why;
} refused[] = {
    { "no scheme", "secret", "names no scheme: write {PLAIN} in front of a password in clear" },
    { "another scheme", "{DES-CRYPT}aaXUJTNvBvM.w", "is of a scheme that is not known here" },
    { "no end of the scheme", "{PLAIN", "has a { without }" },
    { "an encoding that is none", "{SHA256.b32}AAAA", "has an encoding that is none of .b64, .base64, .hex" },
    { "old crypt", "{CRYPT}aaXUJTNvBvM.w", "is of the old DES crypt, which knows 8 letters: no longer taken" },
    { "scrypt", "$7$C6..../....SodiumChloride$kBGj9fHznVYFQMEn/qDCfrDevf9YDtcDdKvEqHJLV8D",
      "is of a scheme that is not known here" },
    { "sha512-crypt cut off", "$6$7F1rz4ukzLoR0PO1$e/00/Ao3FVzLaF", "is cut off, or of another scheme" },
    { "sha512-crypt without a hash", "$6$7F1rz4ukzLoR0PO1", "is cut off, or of another scheme" },
    { "sha512-crypt for ten minutes", "$6$rounds=999999999$7F1rz4ukzLoR0PO1$e/00/", "has more than 1000000 rounds" },
    { "sha256-crypt, one round too many",
      "$5$rounds=1000001$YDRAnGShWbfLDJfY$Xs4/ZRcA4VKbshVxGtpJszE1NJpNsh2MWtF2ORiOPlD", "has more than 1000000 rounds" },
    { "sha256-crypt, the most rounds", "$5$rounds=1000000$YDRAnGShWbfLDJfY$Xs4/ZRcA4VKbshVxGtpJszE1NJpNsh2MWtF2ORiOPlD",
      NULL },
    { "bcrypt of cost 16", "$2y$16$pBCkwCO3qfb1EYIseUz7UuuYkUvYjqdxpEIFe.IM4Z90ctxpH9Dc.", "has a cost of more than 15" },
    { "bcrypt of cost 15", "$2y$15$pBCkwCO3qfb1EYIseUz7UuuYkUvYjqdxpEIFe.IM4Z90ctxpH9Dc.", NULL },
    { "bcrypt cut off", "$2y$05$pBCkwCO3qfb1EYIseUz7UuuYkUvYjqdxpEIFe.IM4Z90ctxpH9Dc", "is cut off, or of another scheme" },
    { "yescrypt, as usual", "$y$j9T$abcdefgh$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL },
    { "yescrypt of 256 MB", "$y$jDT$abcdefgh$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", NULL },
    { "yescrypt of 512 MB", "$y$jET$abcdefgh$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "needs more than 256 MB of memory" },
    { "yescrypt with a tail", "$y$j9T$abcdefgh$aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
      "is cut off, or of another scheme" },
    { "argon2id of 256 MB", "$argon2id$v=19$m=262144,t=3,p=1$z0NFKJDjHaWS0PIUK9DVCA$44Ek2CUbB+x1kC7oehIlhB7QhBajJKKF", NULL },
    { "argon2id a little above", "$argon2id$v=19$m=262145,t=3,p=1$z0NFKJDjHaWS0PIUK9DVCA$44Ek2CUbB+x1kC7oehIlhB7QhBajJKKF",
      "needs more than 256 MB of memory" },
    { "argon2id, 17 passes", "$argon2id$v=19$m=65536,t=17,p=1$z0NFKJDjHaWS0PIUK9DVCA$44Ek2CUbB+x1kC7oehIlhB7QhBajJKKF",
      "needs more than 16 passes over its memory" },
    { "argon2id, 17 lanes", "$argon2id$v=19$m=65536,t=1,p=17$z0NFKJDjHaWS0PIUK9DVCA$44Ek2CUbB+x1kC7oehIlhB7QhBajJKKF",
      "has more than 16 lanes" },
    { "argon2d", "$argon2d$v=19$m=65536,t=1,p=1$z0NFKJDjHaWS0PIUK9DVCA$44Ek2CUbB+x1kC7oehIlhB7QhBajJKKF",
      "is no argon2id or argon2i of version 19" },
    { "argon2id cut off", "{ARGON2ID}$argon2id$v=19$m=65536,t=3,p=1$z0NFKJDjHaWS0PIUK9DVCA", "is cut off, or of another scheme" },
    { "ssha without salt", "{SSHA}2jmj7l5rSw0yVb/vlWAYkK/YBwk=", "has no salt" },
    { "sha cut off", "{SHA}2jmj7l5rSw0yVb/v", "is cut off, or of another scheme" },
    { "sha that is no base64", "{SHA}***", "is no base64 or hex of a digest" },
    { "nothing in clear", "{PLAIN}", "is empty" },
    { "a NUL inside", "{PLAIN.hex}610062", "is no base64 or hex" },
    { "scram with 4095 iterations",
      "{SCRAM-SHA-1}4095,FsB/FILi6jqcz4ghqmFJsg==,UVjryMxoLWdwJvFFH8kUqk4/Avs=,AHD8MHtepMdDNyrvnLlOE+eSRcQ=",
      "has fewer than 4096 iterations, or more than 1000000" },
    { "scram with a million and one",
      "{SCRAM-SHA-1}1000001,FsB/FILi6jqcz4ghqmFJsg==,UVjryMxoLWdwJvFFH8kUqk4/Avs=,AHD8MHtepMdDNyrvnLlOE+eSRcQ=",
      "has fewer than 4096 iterations, or more than 1000000" },
    { "scram of the other length",
      "{SCRAM-SHA-256}4096,FsB/FILi6jqcz4ghqmFJsg==,UVjryMxoLWdwJvFFH8kUqk4/Avs=,AHD8MHtepMdDNyrvnLlOE+eSRcQ=",
      "is no iterations, salt, StoredKey and ServerKey" },
    { "scram without its last key", "{SCRAM-SHA-1}4096,FsB/FILi6jqcz4ghqmFJsg==,UVjryMxoLWdwJvFFH8kUqk4/Avs=",
      "is no iterations, salt, StoredKey and ServerKey" },
};

static void test_refused(void)
{
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        struct password_stored stored;
        const char *why = NULL;
        int r = password_parse(str(refused[i].entry), &stored, &why);
        bool as_wanted = refused[i].why == NULL ? r == 0 : r == -EINVAL && why != NULL && strcmp(why, refused[i].why) == 0;
        if (!as_wanted)
            fprintf(stderr, "  entry \"%s\": %d %s\n", refused[i].name, r, why != NULL ? why : "");
        CU_ASSERT_TRUE(as_wanted);
        if (refused[i].why != NULL)
            CU_ASSERT_EQUAL(password_verify(str(refused[i].entry), str("secret"), &why), PASSWORD_FAILED);
    }
}

static void test_locked(void)
{
    static const char *const locked[] = { "", "!", "*", "!!", "!$6$7F1rz4ukzLoR0PO1$e/00/", "*LK*" };

    for (size_t i = 0; i < sizeof(locked) / sizeof(locked[0]); i++) {
        const char *why = NULL;
        CU_ASSERT_EQUAL(password_verify(str(locked[i]), str(locked[i]), &why), PASSWORD_WRONG);
        CU_ASSERT_EQUAL(password_verify(str(locked[i]), str(""), &why), PASSWORD_WRONG);
    }
}

static void test_lengths(void)
{
    char entry[2 * PASSWORD_STORED_OCTETS_MAX], password[PASSWORD_OCTETS_MAX + 2];
    struct password_stored stored;
    const char *why = NULL;

    memset(password, 'p', sizeof(password));
    password[PASSWORD_OCTETS_MAX] = '\0';
    (void)snprintf(entry, sizeof(entry), "{PLAIN}%s", password);
    CU_ASSERT_EQUAL(password_verify(str(entry), str(password), &why), PASSWORD_RIGHT);
    CU_ASSERT_EQUAL(password_parse((tern_str){ entry, strlen(entry) + 1 }, &stored, &why), -EINVAL);
    (void)strcat(entry, "p");
    CU_ASSERT_EQUAL(password_parse(str(entry), &stored, &why), -EINVAL);
    CU_ASSERT_STRING_EQUAL(why, "is too long");
    memset(entry, '!', sizeof(entry));
    CU_ASSERT_EQUAL(password_parse((tern_str){ entry, PASSWORD_STORED_OCTETS_MAX }, &stored, &why), 0);
    CU_ASSERT_EQUAL(password_parse((tern_str){ entry, PASSWORD_STORED_OCTETS_MAX + 1 }, &stored, &why), -EINVAL);
    CU_ASSERT_STRING_EQUAL(why, "is longer than 1024 octets");
    for (const char *const *s = password_schemes(); *s != NULL; s++) {
        password[PASSWORD_OCTETS_MAX] = '\0';
        CU_ASSERT_EQUAL(password_make(*s, str(password), entry, &why), 0);
        CU_ASSERT_EQUAL(password_verify(str(entry), str(password), &why), PASSWORD_RIGHT);
        password[PASSWORD_OCTETS_MAX] = 'p';
        CU_ASSERT_EQUAL(password_make(*s, (tern_str){ password, PASSWORD_OCTETS_MAX + 1 }, entry, &why), -EINVAL);
        CU_ASSERT_EQUAL(password_verify(str(entry), (tern_str){ password, PASSWORD_OCTETS_MAX + 1 }, &why), PASSWORD_WRONG);
    }
}

static void test_make(void)
{
    char entry[PASSWORD_STORED_OCTETS_MAX + 1] = "untouched", other[PASSWORD_STORED_OCTETS_MAX + 1];
    const char *why = NULL;

    CU_ASSERT_STRING_EQUAL(password_schemes()[0], PASSWORD_SCHEME_DEFAULT);
    CU_ASSERT_EQUAL(password_make("ROT13", str("x"), entry, &why), -EINVAL);
    CU_ASSERT_EQUAL(password_make("PLAIN", str(""), entry, &why), -EINVAL);
    CU_ASSERT_EQUAL(password_make("PLAIN", str("a\nb"), entry, &why), -EINVAL);
    CU_ASSERT_EQUAL(password_make("PLAIN", (tern_str){ "a\0b", 3 }, entry, &why), -EINVAL);
    CU_ASSERT_STRING_EQUAL(entry, "untouched");
    for (const char *const *s = password_schemes(); *s != NULL; s++) {
        CU_ASSERT_EQUAL(password_make(*s, str("gr\xc3\xbcn {x} $y$"), entry, &why), 0);
        CU_ASSERT_EQUAL(entry[0], '{');
        CU_ASSERT_EQUAL(password_verify(str(entry), str("gr\xc3\xbcn {x} $y$"), &why), PASSWORD_RIGHT);
        CU_ASSERT_EQUAL(password_verify(str(entry), str("gr\xc3\xbcn {x} $y"), &why), PASSWORD_WRONG);
        CU_ASSERT_EQUAL(password_make(*s, str("gr\xc3\xbcn {x} $y$"), other, &why), 0);
        CU_ASSERT_TRUE(strcmp(*s, "PLAIN") == 0 || strcmp(entry, other) != 0); /* salted */
    }
}

static double cpu_ms(void)
{
    struct timespec t;

    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

/* Within a factor of three, in one of some tries: the machine is shared, and a decoy that costs nothing is a hundred times off. */
static bool costs_as_much(struct password_decoy *decoy, const char *entry)
{
    const char *why = NULL;

    for (unsigned i = 0; i < 5; i++) {
        double t0 = cpu_ms();
        CU_ASSERT_EQUAL(password_verify(str(entry), str("wrong"), &why), PASSWORD_WRONG);
        double t1 = cpu_ms();
        password_decoy_spend(decoy, str("wrong"));
        double t2 = cpu_ms();
        if (t2 - t1 > (t1 - t0) / 3 && t2 - t1 < (t1 - t0) * 3)
            return true;
    }
    return false;
}

static void test_decoy(void)
{
    static const char *const schemes[] = { "ARGON2ID", "BLF-CRYPT", "SHA512-CRYPT" };
    static struct password_decoy decoy;
    const char *why = NULL;
    char entry[PASSWORD_STORED_OCTETS_MAX + 1];

    for (unsigned i = 0; i < 3; i++) {
        CU_ASSERT_EQUAL(password_make(schemes[i], str("secret"), entry, &why), 0);
        for (unsigned k = 0; k < i * 4; k++) /* the first is what it does untaught */
            password_decoy_learn(&decoy, str(entry));
        CU_ASSERT_TRUE(costs_as_much(&decoy, entry));
    }
}

/* It is of the scheme and cost that most entries have, in whatever order they come. */
static void test_decoy_of_the_most(void)
{
    static const char *const entries[] = {
        "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW", /* 60 % */
        "{PLAIN}a password",
        "$2b$12$abcdefghijklmnopqrstuuPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
        "$2b$04$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW", /* cheaper: another shape */
        "{BLF-CRYPT}$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW", /* and this */
        "$2b$12$zyxwvutsrqponmlkjihgfePST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
        "$2b$12$qqqqqqqqqqqqqqqqqqqqqqPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW",
    };
    struct password_decoy decoy = { 0 };

    for (unsigned from = 0; from < 7; from++) {
        for (unsigned i = 0; i < 70; i++)
            password_decoy_learn(&decoy, str(entries[(from + i) % 7]));
        CU_ASSERT_EQUAL(strncmp(decoy.entry, "$2b$12$", 7), 0);
    }
    for (unsigned i = 0; i < 2 * PASSWORD_DECOY_VOTES_MAX; i++) /* the entries are changed, one by one */
        password_decoy_learn(&decoy, str("{PLAIN}x"));
    CU_ASSERT_STRING_EQUAL(decoy.entry, "{PLAIN}x");
}

/* ---- the success cache ---- */

static bool has(struct auth_cache *c, uint64_t realm, const char *user, const char *password, const char *entry,
                int64_t now_s, const char *login)
{
    struct auth_cache_key key = { realm, str(user), str(password), str(entry) };
    char got[AUTH_CACHE_LOGIN_OCTETS + 1] = "";

    return auth_cache_find(c, &key, now_s, got) && strcmp(got, login) == 0;
}

static void put(struct auth_cache *c, uint64_t realm, const char *user, const char *password, const char *entry,
                int64_t now_s, uint64_t ttl_s, const char *login)
{
    struct auth_cache_key key = { realm, str(user), str(password), str(entry) };

    auth_cache_put(c, &key, now_s, ttl_s, str(login));
}

static void test_cache(void)
{
    struct auth_cache *c = auth_cache_new(8);
    uint64_t realm = auth_cache_realm();
    char name[AUTH_CACHE_LOGIN_OCTETS + 2];

    CU_ASSERT_PTR_NOT_NULL_FATAL(c);
    CU_ASSERT_FALSE(has(c, realm, "", "", "", 100, ""));
    put(c, realm, "alice", "secret", "{PLAIN}secret", 100, 60, "alice@example.org");
    CU_ASSERT_TRUE(has(c, realm, "alice", "secret", "{PLAIN}secret", 159, "alice@example.org"));
    CU_ASSERT_FALSE(has(c, realm, "alice", "secret", "{PLAIN}secret", 160, "alice@example.org")); /* expired */
    CU_ASSERT_FALSE(has(c, realm, "alice", "Secret", "{PLAIN}secret", 101, "alice@example.org"));
    CU_ASSERT_FALSE(has(c, realm, "alice", "secret", "{PLAIN}changed", 101, "alice@example.org"));
    CU_ASSERT_FALSE(has(c, realm, "alices", "ecret", "{PLAIN}secret", 101, "alice@example.org"));
    CU_ASSERT_FALSE(has(c, auth_cache_realm(), "alice", "secret", "{PLAIN}secret", 101, "alice@example.org"));
    put(c, realm, "bob", "secret", "", 100, 0, "bob");
    CU_ASSERT_FALSE(has(c, realm, "bob", "secret", "", 100, "bob")); /* a time of 0 keeps nothing */
    memset(name, 'n', sizeof(name));
    name[AUTH_CACHE_LOGIN_OCTETS] = '\0';
    put(c, realm, "long", "secret", "", 100, 60, name);
    CU_ASSERT_TRUE(has(c, realm, "long", "secret", "", 100, name));
    name[AUTH_CACHE_LOGIN_OCTETS] = 'n';
    name[AUTH_CACHE_LOGIN_OCTETS + 1] = '\0';
    put(c, realm, "longer", "secret", "", 100, 60, name);
    CU_ASSERT_FALSE(has(c, realm, "longer", "secret", "", 100, name));
    auth_cache_clear(c);
    CU_ASSERT_FALSE(has(c, realm, "alice", "secret", "{PLAIN}secret", 101, "alice@example.org"));
    auth_cache_free(c);
}

/* Twice as many as there are places: at most so many stay, and the last ones put do. */
static void test_cache_bound(void)
{
    struct auth_cache *c = auth_cache_new(64);
    unsigned kept = 0, newest = 0;
    char user[16];

    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(user, sizeof(user), "u%u", i);
        put(c, 1, user, "p", "", 100 + i, 10000, user);
        newest += has(c, 1, user, "p", "", 100 + i, user);
    }
    for (unsigned i = 0; i < 1000; i++) {
        (void)snprintf(user, sizeof(user), "u%u", i);
        kept += has(c, 1, user, "p", "", 1100, user);
    }
    CU_ASSERT_EQUAL(newest, 1000);
    CU_ASSERT_TRUE(kept > 0 && kept <= 64);
    auth_cache_free(c);
}

int main(void)
{
    if (password_init() < 0 || CU_initialize_registry() != CUE_SUCCESS)
        return 1;
    CU_pSuite suite = CU_add_suite("password", NULL, NULL);
    CU_add_test(suite, "what fits", test_fits);
    CU_add_test(suite, "what is refused", test_refused);
    CU_add_test(suite, "locked entries", test_locked);
    CU_add_test(suite, "lengths", test_lengths);
    CU_add_test(suite, "new entries", test_make);
    CU_add_test(suite, "a decoy costs the same", test_decoy);
    CU_add_test(suite, "a decoy is of the scheme that most have", test_decoy_of_the_most);
    CU_add_test(suite, "the success cache", test_cache);
    CU_add_test(suite, "the success cache is bounded", test_cache_bound);
    CU_basic_run_tests();
    unsigned failures = CU_get_number_of_failures();
    CU_cleanup_registry();
    return failures != 0;
}
