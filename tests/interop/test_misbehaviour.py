#!/usr/bin/python3
"""Modules that crash, block or answer rubbish: who pays, and what the log says of it. What burns: test_burning."""
import os
import re
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from ternlib import SLOW, Client, Tern, build_has, freeze, queue_id, run, wait_for

SOURCE = """
#include <tern/module.h>
#include <string.h>
#include <unistd.h>
static const struct tern_api *tern;
static int starts(tern_call *call, const char *word)
{
    return strncmp(tern->current_rcpt(call)->mailbox.address.ptr, word, strlen(word)) == 0;
}
static tern_verdict on_rcpt(tern_call *call, const void *conf)
{
    (void)conf;
    if (starts(call, "segv@"))
        *(volatile int *)8 = 1;
    if (starts(call, "spin@"))
        for (volatile int i = 0;; i++)
            ;
    if (starts(call, "sleep@"))
        for (;;)
            (void)sleep(100);
    if (starts(call, "exit@"))
        _exit(3);
    if (starts(call, "rubbish@"))
        return (tern_verdict)4711;
    if (starts(call, "undeclared@"))
        return TERN_DISCARD;
    if (starts(call, "negative@"))
        return (tern_verdict)-7;
    return TERN_NEXT;
}
static tern_verdict on_message(tern_call *call, const void *conf)
{
    (void)conf;
    if (tern->header(call, "X-Crash", 0) != NULL)
        __builtin_trap();
    return TERN_NEXT;
}
static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    return 0;
}
static const struct tern_hook hooks[] = {
    { TERN_HOOK(RCPT, on_rcpt), .answers = TERN_MAY_REJECT },
    { TERN_HOOK(MESSAGE, on_message) },
    TERN_HOOKS_END,
};
TERN_MODULE(.name = "naughty", .summary = "Misbehaves on demand.", .hooks = hooks, .init = init);
"""
STUCK = """
#include <tern/module.h>
#include <string.h>
#include <unistd.h>
static const struct tern_api *tern;
static tern_verdict on_rcpt(tern_call *call, const void *conf)
{
    (void)conf;
    if (strncmp(tern->current_rcpt(call)->mailbox.address.ptr, "stuck@", 6) == 0)
        for (;;)
            (void)sleep(100);
    return TERN_NEXT;
}
static int init(const struct tern_api *api, void **ret_state)
{
    tern = api;
    *ret_state = NULL;
    return 0;
}
static const struct tern_hook hooks[] = {
    { TERN_HOOK(RCPT, on_rcpt), .answers = TERN_MAY_REJECT, .flags = TERN_BLOCKING },
    TERN_HOOKS_END,
};
TERN_MODULE(.name = "stuck", .summary = "Never comes back.", .hooks = hooks, .init = init);
"""
CONFIG = """
hostname: mx.test
loops: 1
watchdog: {watchdog}
module_path: "{dir}/modules"
listeners: { mx: { bind: "127.0.0.1:{port}", policy: inbound } }
policies:
  inbound:
    - domains: { local: [example.org] }
%s
transports: { mailboxes: { type: maildir, path: "{dir}/mail/%%{user}" } }
routes: [ { class: local, transport: mailboxes } ]
"""


def server(step, more="", files=None, watchdog="1m", **sources):
    """A server whose module folder holds the shipped modules and those compiled here from `sources`."""
    t = Tern(CONFIG % step + more, files=files, watchdog=watchdog)
    t.add_modules(**sources)
    return t.start()


def sanitized():
    return build_has(r"^TERN_SANITIZER[^=]*=.+$")


if sanitized():  # the signals of a crash are the supervisor's to see
    os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":handle_segv=0:handle_sigill=0:handle_sigtrap=0"
    os.environ["UBSAN_OPTIONS"] = os.environ.get("UBSAN_OPTIONS", "") + ":handle_segv=0:handle_sigill=0"


def provoke(t, rcpt):
    c = Client(t.port)
    c.cmd("EHLO client.example")
    c.cmd("MAIL FROM:<a@client.example>")
    return c, c.cmd("RCPT TO:<%s>" % rcpt)


def cut_off(what):
    try:
        what()
    except (EOFError, ConnectionResetError):
        return True
    return False


def named(t, *words):
    """a log line holds all the words"""
    return [l for l in t.log_text().splitlines() if all(w in l for w in words)]


def test_crash_is_named_and_costs_no_mail():
    with server("    - naughty: {}", "delivery: false\n", naughty=SOURCE) as t:
        kept = queue_id(Client(t.port).mail("a@client.example", ["alice@example.org"], "Subject: kept\n\nx\n")[1])
        first = t.worker_pid()
        assert cut_off(lambda: provoke(t, "segv@example.org"))
        wait_for(lambda: named(t, "signal 11"))
        line = wait_for(lambda: named(t, "hook=rcpt", "step=naughty"))[0]
        assert re.search(r" error 0\w{12} worker ", line), "the queue id is there: " + line
        # The sockets stayed open: a client that comes while no worker is there waits for the next one.
        assert Client(t.port).cmd("EHLO client.example")[0] == 250
        assert t.worker_pid() != first
        wait_for(lambda: [m["id"] for m in t.queue()] == [kept])
        assert cut_off(lambda: provoke(t, "exit@example.org"))
        wait_for(lambda: named(t, "that ended", "hook=rcpt", "step=naughty"))
        c = Client(t.port)
        assert cut_off(lambda: c.mail("a@client.example", ["alice@example.org"], "X-Crash: yes\n\nx\n"))
        wait_for(lambda: named(t, "hook=message", "step=naughty"))
        wait_for(lambda: Client(t.port).cmd("NOOP")[0] == 250)
        wait_for(lambda: [m["id"] for m in t.queue()] == [kept])  # the message that crashed was never acknowledged
        t.write_config((CONFIG % "").replace("watchdog: {watchdog}", ""))
        t.cli("reload")
        wait_for(lambda: len(t.maildir("alice")) == 1)


def test_stopped_worker_does_not_hang():
    if not os.path.exists("/proc/self/schedstat"):
        print("     this kernel does not tell how long a thread waited")
        return
    with server("", watchdog="2s") as t:
        c = Client(t.port)
        assert c.cmd("EHLO client.example")[0] == 250
        worker = t.worker_pid()
        freeze(worker)
        time.sleep(6)
        os.kill(worker, signal.SIGCONT)
        assert c.cmd("NOOP")[0] == 250, "the same session"
        assert t.worker_pid() == worker
        assert not named(t, "has not moved for")


def test_rubbish_verdicts_are_errors_of_the_step():
    with server("    - naughty: {}", naughty=SOURCE) as t:
        for who in ("rubbish", "undeclared", "negative"):
            code, text = provoke(t, who + "@example.org")[1]
            assert code == 451 and text.startswith("4.3.0"), (who, code, text)
        assert provoke(t, "alice@example.org")[1][0] == 250
    with server("    - naughty: { on_error: reject }", naughty=SOURCE) as t:
        assert provoke(t, "rubbish@example.org")[1][0] == 554
    with server("    - naughty: { on_error: skip }", naughty=SOURCE) as t:
        assert provoke(t, "rubbish@example.org")[1][0] == 250


def test_stuck_blocking_step_harms_nobody_else():
    with server("    - stuck: { timeout: 1s }", "pool_threads: 4\n", stuck=STUCK) as t:
        start = time.monotonic()
        code, text = provoke(t, "stuck@example.org")[1]
        assert code == 451 and 0.9 < time.monotonic() - start < 1 + 20 * SLOW, (code, text)
        start = time.monotonic()
        c = Client(t.port)
        for _ in range(20):
            assert c.cmd("NOOP")[0] == 250
        assert time.monotonic() - start < 20 * SLOW  # the thread never comes back
        assert provoke(t, "alice@example.org")[1][0] == 250, "another thread of the pool serves the same step"
        start = time.monotonic()
        assert t.stop() == 0
        assert time.monotonic() - start < 40 * SLOW, "a stuck thread does not hold up the end"


if __name__ == "__main__":
    run([test_crash_is_named_and_costs_no_mail, test_stopped_worker_does_not_hang, test_rubbish_verdicts_are_errors_of_the_step,
         test_stuck_blocking_step_harms_nobody_else])
