/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log_events.h - the name of every event, once. A log line is `id event key=value ...`.
 * X(name, what it means); the enum is LOG_EV_<NAME>.
 */
#ifndef TERN_BASE_LOG_EVENTS_H
#define TERN_BASE_LOG_EVENTS_H

#define LOG_EVENTS(X)                                                                             \
    X(start, "the server or a part of it has started")                                            \
    X(stop, "the server or a part of it stops")                                                   \
    X(listen, "a listener opened or closed")                                                      \
    X(reload, "a configuration was loaded or refused")                                            \
    X(config, "an error or a warning in the configuration")                                       \
    X(connect, "a client connected")                                                              \
    X(proxy, "a proxy in front of a listener")                                                   \
    X(disconnect, "a session ended")                                                              \
    X(reject, "a command or message was refused for good")                                        \
    X(defer, "a command or message was refused for now")                                          \
    X(accepted, "a message is durable in the spool")                                              \
    X(delivered, "a recipient's copy was taken by the next hop")                                  \
    X(deferred, "a recipient will be tried again")                                                \
    X(bounced, "a recipient failed for good")                                                     \
    X(expired, "a recipient was given up after too long")                                         \
    X(undeliverable, "a notice or an added recipient was dropped: no such mailbox here")          \
    X(outbound, "a next hop takes our TLS or AUTH not, or badly")                                 \
    X(held, "a message was put in quarantine")                                                    \
    X(released, "a held message was made due")                                                    \
    X(discarded, "a message was accepted and dropped by policy")                                  \
    X(removed, "an operator removed a message")                                                   \
    X(step_error, "a step of the policy failed")                                                  \
    X(step_slow, "a plain step held its loop for too long")                                       \
    X(module, "a word of a module or script")                                                     \
    X(spool, "the spool: segments, recovery, failures")                                           \
    X(disk, "a disk failed or is full")                                                           \
    X(dns, "the resolver")                                                                        \
    X(control, "an operator's command")                                                           \
    X(worker, "the worker process started, ended or hung")                                        \
    X(local, "tern-local started, ended or refused") \
    X(milter, "an MTA that asks us as a milter")                                                    \
    X(limit, "a configured limit was reached")                                                    \
    X(auth, "a client logged in, or tried to")                                                    \
    X(etrn, "a client had the queue of a domain started")                                         \
    X(kv, "the key-value store")                                                                  \
    X(tls, "a handshake of TLS failed")                                                           \
    X(table, "a table was read or could not be")

#define LOG_EVENT_ENUM(name, text) LOG_EV_##name,
enum log_event { LOG_EVENTS(LOG_EVENT_ENUM) LOG_EV_COUNT };

#endif
