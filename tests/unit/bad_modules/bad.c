/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bad.c - one source, many shared objects, each wrong in one way: -DBAD_<WAY> and -DNAME="...".
 * The test of the loader says for each what the refusal must read like.
 */
#include <tern/module.h>

#ifndef NAME
#error "NAME is the file's name without .so"
#endif

struct conf {
    bool flag;
    unsigned number;
};

static __attribute__((unused)) tern_verdict run(tern_call *call, const void *conf)
{
    (void)call;
    (void)conf;
    return TERN_NEXT;
}

#if defined BAD_INIT
static int init(const struct tern_api *api, void **ret_state)
{
    (void)api;
    (void)ret_state;
    return -EIO;
}
#else
static int init(const struct tern_api *api, void **ret_state)
{
    static int state;

    (void)api;
    *ret_state = &state;
    return 0;
}
#endif

#if defined BAD_OPTION_OUTSIDE
#define NUMBER_OFFSET sizeof(struct conf) - 2
#elif defined BAD_OPTION_FAR
#define NUMBER_OFFSET (size_t)-4
#elif defined BAD_OPTION_CROOKED
#define NUMBER_OFFSET 3
#else
#define NUMBER_OFFSET offsetof(struct conf, number)
#endif

#if defined BAD_OPTION_TYPE
#define NUMBER_TYPE 99
#elif defined BAD_OPTION_REGEX
#define NUMBER_TYPE TERN_TYPE_REGEX
#elif defined BAD_OPTION_ENUM
#define NUMBER_TYPE TERN_TYPE_ENUM
#else
#define NUMBER_TYPE TERN_TYPE_UINT
#endif

#if defined BAD_OPTION_RESERVED
#define NUMBER_KEY "when"
#elif defined BAD_OPTION_NAME
#define NUMBER_KEY "Big Number"
#elif defined BAD_OPTION_TWICE
#define NUMBER_KEY "flag"
#else
#define NUMBER_KEY "number"
#endif

#if defined BAD_OPTION_STRIDE
#define NUMBER_SIZE 12
#else
#define NUMBER_SIZE sizeof(struct tern_option)
#endif

static const struct tern_option options[] = {
    TERN_OPTION_BOOL(struct conf, flag, "false", "A flag."),
    { .size = NUMBER_SIZE, .key = NUMBER_KEY, .type = NUMBER_TYPE, .offset = NUMBER_OFFSET,
      .text = "7", .doc = "A number." },
    TERN_OPTIONS_END,
};

#if defined GOOD_LONGER
/* A module of a later version of the ABI that needs nothing new: its entries are longer. */
struct longer_hook {
    struct tern_hook known;
    void *later[3];
};
static const struct longer_hook hooks[] = {
    { .known = { .size = sizeof(struct longer_hook), .hook = TERN_HOOK_RCPT, .run = run,
                 .answers = TERN_MAY_REJECT, .flags = TERN_CLAIMS } },
    { .known = { .size = sizeof(struct longer_hook), .hook = TERN_HOOK_MESSAGE, .run = run,
                 .flags = TERN_ONCE } },
    { .known = { .size = 0 } },
};
#define HOOKS &hooks[0].known
#else
#define AUTH_ENTRY TERN_HOOK(AUTH, run), .answers = TERN_MAY_ACCEPT | TERN_MAY_REJECT
static __attribute__((unused)) const char *const plain[] = { "PLAIN", NULL };
static __attribute__((unused)) const char *const scram[] = { "SCRAM-SHA-1", NULL };
static __attribute__((unused)) const char *const small[] = { "plain", NULL };

static const struct tern_hook hooks[] = {
#if defined GOOD_AUTH
    { AUTH_ENTRY, .auth_form = TERN_AUTH_VERIFY },
    { AUTH_ENTRY, .auth_form = TERN_AUTH_LOOKUP, .mechanisms = scram },
    { AUTH_ENTRY, .auth_form = TERN_AUTH_EXCHANGE, .mechanisms = plain },
#elif defined BAD_AUTH_FORM
    { AUTH_ENTRY },
#elif defined BAD_AUTH_EXCHANGE
    { AUTH_ENTRY, .auth_form = TERN_AUTH_EXCHANGE },
#elif defined BAD_AUTH_BLOCKING
    { AUTH_ENTRY, .auth_form = TERN_AUTH_EXCHANGE, .mechanisms = plain, .flags = TERN_BLOCKING },
#elif defined BAD_AUTH_NAME
    { AUTH_ENTRY, .auth_form = TERN_AUTH_VERIFY, .mechanisms = small },
#elif defined BAD_AUTH_MECHANISM
    { AUTH_ENTRY, .auth_form = TERN_AUTH_VERIFY, .mechanisms = scram },
#elif defined BAD_AUTH_ELSEWHERE
    { TERN_HOOK(RCPT, run), .mechanisms = plain },
#elif defined BAD_HOOK_UNKNOWN
    { .size = sizeof(struct tern_hook), .hook = 77, .run = run },
#elif defined BAD_HOOK_EMPTY
    { .size = sizeof(struct tern_hook), .hook = TERN_HOOK_RCPT },
#elif defined BAD_HOOK_STRIDE
    { .size = 8, .hook = TERN_HOOK_RCPT, .run = run },
#elif defined BAD_HOOK_TWICE
    { TERN_HOOK(RCPT, run) },
    { TERN_HOOK(RCPT, run) },
#elif defined BAD_HOOK_VERDICT
    { TERN_HOOK(SIGN, run), .answers = TERN_MAY_REJECT },
#elif defined BAD_HOOK_REPORT
    { TERN_HOOK(CLOSE, run), .answers = TERN_MAY_DEFER },
#elif defined BAD_HOOK_CLAIMS
    { TERN_HOOK(MAIL, run), .flags = TERN_CLAIMS },
#elif defined BAD_HOOK_ONCE
    { TERN_HOOK(QUEUE, run), .flags = TERN_ONCE },
#elif defined BAD_HOOK_FLAGS
    { TERN_HOOK(MESSAGE, run), .flags = 1u << 20 },
#else
    { TERN_HOOK(RCPT, run), .answers = TERN_MAY_REJECT | TERN_MAY_DEFER },
#endif
    TERN_HOOKS_END,
};
#define HOOKS hooks
#endif

static const struct tern_note notes[] = {
#if defined BAD_NOTE
    { .size = sizeof(struct tern_note), .kind = TERN_NOTE_TAG, .name = "not a name" },
#endif
    TERN_NOTES_END,
};

#if defined BAD_UNDEFINED
extern int there_is_no_such_function(void);
#define FINI_CALL there_is_no_such_function()
#else
#define FINI_CALL 0
#endif
static void fini(void *state)
{
    (void)state;
    (void)FINI_CALL;
}

static const struct tern_module module = {
#if defined BAD_MAGIC
    .magic = 0x464c457f,
#else
    .magic = TERN_ABI_MAGIC,
#endif
#if defined BAD_SIZE
    .size = 40,
#elif defined BAD_SIZE_HUGE
    .size = 1u << 30,
#else
    .size = sizeof(struct tern_module),
#endif
#if defined BAD_MAJOR
    .abi_major = 2,
    .abi_minor = 3,
#elif defined BAD_MINOR
    .abi_major = TERN_ABI_MAJOR,
    .abi_minor = 9,
#else
    .abi_major = TERN_ABI_MAJOR,
    .abi_minor = TERN_ABI_MINOR,
#endif
#if defined BAD_NAME
    .name = "somebody_else",
#else
    .name = NAME,
#endif
    .options = options,
    .conf_size = sizeof(struct conf),
    .hooks = HOOKS,
    .notes = notes,
    .init = init,
    .fini = fini,
};

#if defined BAD_ENTRY_NULL
TERN_EXPORT const struct tern_module *tern_module_entry(void);
const struct tern_module *tern_module_entry(void)
{
    return module.magic == TERN_ABI_MAGIC ? 0 : &module;
}
#elif defined BAD_ENTRY_MISSING
TERN_EXPORT const struct tern_module *tern_modul_entry(void);
const struct tern_module *tern_modul_entry(void)
{
    return &module;
}
#else
TERN_EXPORT const struct tern_module *tern_module_entry(void);
const struct tern_module *tern_module_entry(void)
{
    return &module;
}
#endif
