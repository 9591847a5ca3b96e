---@meta tern
-- For editors with the Lua language server. Made from core/lua/bindings.c; do not edit.

---@class tern.type
---@class tern.answer

---`local tern = require "tern"`.
---@class tern
local tern = {}

---Declares the script's options, once. Inside a hook the returned table shows the options of the running step; it is read only.
---Where: at load.
---@param types table<string, tern.type>
---@return table
function tern.options(types) end

---Calls `f` at that hook. `claims`: at rcpt, it may claim recipients. `once`: at message, once for all recipients and not per group. `answers`: the only answers it gives; by default all that the hook allows. At auth `form` is "verify" (unless said: user and password are there) or "lookup" (answers with the user's keys), and `mechanisms` are other ones than PLAIN and LOGIN, or SCRAM; or it is "exchange": the script leads mechanisms of its own by tern.challenge.
---Where: at load.
---@param hook string
---@param f function
---@param how? { claims?: boolean, once?: boolean, answers?: string[], mechanisms?: string[], form?: string }
function tern.on(hook, f, how) end

---Declares a result that the script sets, so that `when` of later steps may name it.
---Where: at load.
---@param result { name: string, values?: string[], doc?: string }
function tern.result(result) end

---Declares a tag that the script sets.
---Where: at load.
---@param tag { name: string, doc?: string }
function tern.tag(tag) end

---An option that is a text. Without `default` it must be given.
---Where: at load.
---@param how? { default?: string, doc?: string }
---@return tern.type
function tern.string(how) end

---An option that is a whole number.
---Where: at load.
---@param how? { default?: integer, min?: integer, max?: integer, doc?: string }
---@return tern.type
function tern.int(how) end

---An option that is a whole number from 0 on.
---Where: at load.
---@param how? { default?: integer, min?: integer, max?: integer, doc?: string }
---@return tern.type
function tern.uint(how) end

---An option that is true or false.
---Where: at load.
---@param how? { default?: boolean, doc?: string }
---@return tern.type
function tern.bool(how) end

---A duration, as in 90, 5m, 4h, 5d; read as seconds.
---Where: at load.
---@param how? { default?: string|integer, min?: integer, max?: integer, doc?: string }
---@return tern.type
function tern.duration(how) end

---A size, as in 64KB, 10MB; read as octets.
---Where: at load.
---@param how? { default?: string|integer, min?: integer, max?: integer, doc?: string }
---@return tern.type
function tern.size(how) end

---One of some words.
---Where: at load.
---@param values string[]
---@param how? { default?: string, doc?: string }
---@return tern.type
function tern.enum(values, how) end

---A list of texts: `#opt.x`, `opt.x[1]`, `ipairs(opt.x)`, `tern.contains(opt.x, "a")`.
---Where: at load.
---@param of "string"
---@param how? { default?: string[], min?: integer, max?: integer, doc?: string }
---@return tern.type
function tern.list(of, how) end

---Texts by name: `opt.x.name`, `pairs(opt.x)`.
---Where: at load.
---@param how? { default?: table<string, string>, doc?: string }
---@return tern.type
function tern.map(how) end

---A table to look things up in: `{ table: NAME }` or written in place.
---Where: at load.
---@param how? { default?: string[]|table<string, string>, doc?: string }
---@return tern.type
function tern.table(how) end

---A list of networks, as in 192.0.2.0/24.
---Where: at load.
---@param how? { default?: string[], doc?: string }
---@return tern.type
function tern.cidrs(how) end

---Refuses for good: 5xx, by default 550 5.7.1; at route and deliver the sender gets a bounce.
---Where: connect, ehlo, auth, mail, rcpt, data, message, queue, sign, route, deliver, vrfy.
---@param code? integer
---@param enhanced? string
---@param text string
---@return tern.answer
function tern.reject(code, enhanced, text) end

---Refuses for now: 4xx, by default 451 4.7.1; the other side tries again.
---Where: connect, ehlo, auth, mail, rcpt, data, message, queue, sign, route, deliver, vrfy.
---@param code? integer
---@param enhanced? string
---@param text string
---@return tern.answer
function tern.defer(code, enhanced, text) end

---Replies 421 and ends the connection.
---Where: connect, ehlo, auth, mail, rcpt, data, message, queue, sign, route, deliver, vrfy.
---@param code? integer
---@param enhanced? string
---@param text string
---@return tern.answer
function tern.close(code, enhanced, text) end

---Accepts the message and keeps it in quarantine. Later steps still run and may refuse.
---Where: connect, ehlo, auth, mail, rcpt, data, message, queue, sign, route, deliver, vrfy.
---@param reason string
---@return tern.answer
function tern.hold(reason) end

---Accepts the message and drops it. Later steps still run and may refuse.
---Where: connect, ehlo, auth, mail, rcpt, data, message, queue, sign, route, deliver, vrfy.
---@param reason? string
---@return tern.answer
function tern.discard(reason) end

---At route: the way for the recipient. At deliver: changes the way that was found. Hosts are written "host", "host:port", "[addr]:port" or "unix:/path".
---Where: route, deliver.
---@param route { transport?: string, to?: string|string[], fallback?: string|string[], source?: string, discard?: string }
---@return tern.answer
function tern.route(route) end

---At auth: that is who it says; the session's user is `what`, or else credentials.user. With form = "lookup" `what` is the user's keys: { password = ... } in clear, or { hash = "SHA-256", salt, iterations, stored_key, server_key }, and maybe user = ... With form = "exchange" `what` is the user's name. At route: the same as tern.route.
---Where: auth, route.
---@param what? string|table
---@return tern.answer
function tern.accept(what) end

---That is whom VRFY or EXPN asks for: 250 2.1.5 unless said, or 251 or 252, and a text with the address in brackets. A list is a text of several lines, at most 4000 octets, and makes a reply of as many.
---Where: vrfy.
---@param code? integer
---@param enhanced? string
---@param text string
---@return tern.answer
function tern.confirm(code, enhanced, text) end

---With form = "exchange": asks the client (334, in base64) and waits for its response. When it cancels or leaves, the call ends here.
---Where: auth.
---@param challenge string
---@return string
function tern.challenge(challenge) end

---Whether a list has that value.
---Where: anywhere.
---@param list table
---@param value any
---@return boolean
function tern.contains(list, value) end

---Adds to the decision record why the script decided so; `tern why` shows it.
---Where: any hook.
---@param key string
---@param value any
function tern.note(key, value) end

---Seconds since 1970.
---Where: anywhere.
---@return integer
function tern.now() end

---The `hostname:` of the configuration.
---Where: anywhere.
---@return string
function tern.hostname() end

---Sets a result that the script declared with tern.result.
---Where: connect, ehlo, auth, mail, rcpt, data, message, queue, sign, route, deliver, vrfy.
---@param name string
---@param value string
function tern.set_result(name, value) end

---Asks the DNS for A (unless said), AAAA, MX, TXT, PTR, NS, CNAME or TLSA. A list of texts (for MX of { host, preference }; `.authentic`: DNSSEC); or nil, the reason, and true if it could not be found out (time-out, SERVFAIL) rather than certainly not being there.
---Where: connect, tls, ehlo, auth, mail, rcpt, data, message, queue, sign, route, deliver, result, vrfy.
---@param name string
---@param type? string
---@return table|nil, string|nil, boolean|nil
function tern.dns(name, type) end

---Lines in the log, with session and queue id.
---@class tern.log
tern.log = {}

---Writes a line to the log: an operator must act.
---Where: anywhere.
---@param text any
function tern.log.error(text) end

---An operator should look.
---Where: anywhere.
---@param text any
function tern.log.warning(text) end

---For information; `print` does the same.
---Where: anywhere.
---@param text any
function tern.log.info(text) end

---Shown with log level debug only.
---Where: anywhere.
---@param text any
function tern.log.debug(text) end

---A store that outlives calls and, with kv_lmdb, restarts.
---@class tern.kv
tern.kv = {}

---What is stored, or nil. Each script has keys of its own. All of tern.kv raise an error if the store fails.
---Where: connect, tls, ehlo, auth, mail, rcpt, data, message, queue, sign, route, deliver, result, vrfy.
---@param key string
---@return string|integer|nil
function tern.kv.get(key) end

---Stores a value, for an hour unless said.
---Where: connect, tls, ehlo, auth, mail, rcpt, data, message, queue, sign, route, deliver, result, vrfy.
---@param key string
---@param value string|integer
---@param expire_s? integer
function tern.kv.put(key, value, expire_s) end

---Stores a number unless the key is there. Returns what was there before, or nil.
---Where: connect, tls, ehlo, auth, mail, rcpt, data, message, queue, sign, route, deliver, result, vrfy.
---@param key string
---@param value integer
---@param expire_s? integer
---@return integer|nil
function tern.kv.put_new(key, value, expire_s) end

---Adds, and returns the sum. A key that is not there begins at 0 and expires after expire_s.
---Where: connect, tls, ehlo, auth, mail, rcpt, data, message, queue, sign, route, deliver, result, vrfy.
---@param key string
---@param amount integer
---@param expire_s? integer
---@return integer
function tern.kv.add(key, amount, expire_s) end

---Removes a key.
---Where: connect, tls, ehlo, auth, mail, rcpt, data, message, queue, sign, route, deliver, result, vrfy.
---@param key string
function tern.kv.remove(key) end

---The argument at connect, ehlo, vrfy and close; `txn.session` elsewhere.
---@class tern.session
---@field id string # Names the session in the log.
---@field client string|nil # The client's address.
---@field listener string|nil # The listener's name.
---@field policy string|nil # The policy's name.
---@field helo string|nil # What the client said in HELO or EHLO.
---@field user string|nil # Who logged in.
---@field esmtp boolean # Whether it was EHLO.
---@field early_octets integer # At connect: what the client has said before it was greeted, in octets; 0 elsewhere.
---@field tls boolean # Whether the connection is encrypted.
---@field tls_version string|nil # "TLSv1.3", or nil without TLS.
---@field tls_cipher string|nil # "TLS_AES_256_GCM_SHA384", or nil without TLS.
---@field tls_sni string|nil # The host name that the client asked for.
---@field tls_client string|nil # Who the client is by a certificate that `client_ca` of the listener vouches for.
---@field tls_subject string|nil # Whom the certificate says it is for, verified or not.
---@field tls_fingerprint string|nil # SHA-256 of the client's certificate, in hex.
---@field tls_error string|nil # Why the client's certificate is not verified.
---@field vars table<string, string|number|boolean> # What steps want to remember of the session; assigned at connect, ehlo and auth, read anywhere.
---@field results table<string, string> # What earlier steps found; "not_run" before.
local session_class = {}

---Leaves a keyword ("SIZE") out of the reply to EHLO.
---Where: ehlo.
---@param keyword string
function session_class:withhold(keyword) end

---Sets a declared tag on the session.
---Where: connect, ehlo, auth.
---@param name string
function session_class:tag(name) end

---Whether a tag is set.
---Where: any hook.
---@param name string
---@return boolean
function session_class:has_tag(name) end

---The transaction; at route, deliver and result the message.
---@class tern.txn
---@field id string # The queue id.
---@field session tern.session # The session it came by.
---@field sender tern.mailbox # The sender; all three fields empty for a bounce.
---@field sender_original tern.mailbox # The sender as given in MAIL FROM.
---@field smtputf8 boolean # Whether the client asked for SMTPUTF8.
---@field declared_size integer # SIZE= of MAIL FROM, or 0.
---@field rcpt_count integer # Recipients accepted so far; from message on those of the group.
---@field size integer # Octets of the message.
---@field vars table<string, string|number|boolean> # What steps want to remember of the transaction; kept with the message in the queue.
---@field results table<string, string> # What earlier steps found; "not_run" before.
---@field outcome string # delivered, deferred, bounced or expired.
---@field outcome_text string|nil # What the other side said.
local txn_class = {}

---`for rcpt in txn:rcpts() do`.
---Where: mail, rcpt, data, message, queue, sign, route, deliver, result.
---@return fun(): tern.rcpt
function txn_class:rcpts() end

---The first (or nth) field of that name, decoded to UTF-8 on one line, or as it stands.
---Where: message, queue, sign.
---@param name string
---@param how? { nth?: integer, raw?: boolean }
---@return string|nil
function txn_class:header(name, how) end

---`for name, value in txn:headers() do`.
---Where: message, queue, sign.
---@param how? { raw?: boolean }
---@return fun(): string, string
function txn_class:headers(how) end

---Octets of the body, by default the first 64 KB, at most 4 MB at once.
---Where: message, queue, sign.
---@param offset? integer
---@param octets? integer
---@return string
function txn_class:body(offset, octets) end

---`for part in txn:parts() do`: the leaves of the MIME tree, in order.
---Where: message, queue, sign.
---@return fun(): tern.part
function txn_class:parts() end

---Sets a declared tag; at rcpt on the recipient in question.
---Where: mail, rcpt, data, message, queue, sign.
---@param name string
function txn_class:tag(name) end

---Whether a tag is set.
---Where: mail, rcpt, data, message, queue, sign, route, deliver, result.
---@param name string
---@return boolean
function txn_class:has_tag(name) end

---Replaces the sender.
---Where: mail, queue.
---@param address string
function txn_class:rewrite_sender(address) end

---Adds a recipient.
---Where: message.
---@param address string
function txn_class:add_rcpt(address) end

---Puts a field on top of the header.
---Where: message, queue, sign.
---@param name string
---@param value string
function txn_class:add_header(name, value) end

---Puts a field below the last of the header.
---Where: message, queue.
---@param name string
---@param value string
function txn_class:append_header(name, value) end

---Replaces the first (or nth) field of that name.
---Where: message, queue.
---@param name string
---@param value string
---@param nth? integer
function txn_class:replace_header(name, value, nth) end

---Removes the first (or nth) field of that name.
---Where: message, queue.
---@param name string
---@param nth? integer
function txn_class:remove_header(name, nth) end

---A recipient.
---@class tern.rcpt
---@field address string # local@domain, as rewritten so far.
---@field local_part string # What stands before the @, unquoted.
---@field domain string # In lower case and A-labels; empty for <postmaster>.
---@field original tern.mailbox # As given in RCPT TO.
---@field class string|nil # local, relay, forward or client, once claimed.
---@field claimed_by string|nil # The step that claimed it.
local rcpt_class = {}

---Says that the recipient is ours to take: local (unless said), relay, forward or client.
---Where: rcpt.
---@param class? string
function rcpt_class:claim(class) end

---Replaces the recipient.
---Where: rcpt.
---@param address string
function rcpt_class:rewrite(address) end

---Replaces the recipient by several.
---Where: rcpt.
---@param addresses string[]
function rcpt_class:expand(addresses) end

---Sets a declared tag on the recipient.
---Where: rcpt.
---@param name string
function rcpt_class:tag(name) end

---An address in its parts.
---@class tern.mailbox
---@field address string # local@domain; empty for the null sender.
---@field local_part string # What stands before the @.
---@field domain string # In lower case and A-labels.
local mailbox_class = {}

---A part of a MIME message.
---@class tern.part
---@field type string # "text/plain", in lower case.
---@field charset string|nil # As declared.
---@field filename string|nil # Decoded to UTF-8.
---@field encoding string|nil # "base64", ... in lower case.
---@field size integer # Octets, as encoded.
---@field depth integer # How deep in the MIME tree.
local part_class = {}

---What an option of type `tern.table` is.
---@class tern.table
local table_class = {}

---The value of a key (empty where the table has keys only), or nil. Raises an error if the table fails.
---Where: connect, tls, ehlo, auth, mail, rcpt, data, message, queue, sign, route, deliver, result, vrfy.
---@param key string
---@return string|nil
function table_class:find(key) end

---Whether it has no entry at all.
---Where: any hook.
---@return boolean
function table_class:empty() end

---What an option of type `tern.cidrs` is.
---@class tern.cidrs
local cidrs_class = {}

---Whether an address is in one of the networks.
---Where: any hook.
---@param address string|nil
---@return boolean
function cidrs_class:contains(address) end

---What a client says to log in: the second argument at auth.
---@class tern.credentials
---@field user string # Who wants to log in, empty with form = "exchange"; with EXTERNAL a name of the client's certificate, which was verified.
---@field password string # The password, or the token; empty with form = "lookup" or "exchange".
---@field response string|nil # The initial response, with form = "exchange"; nil: the client sent none.
---@field mechanism string # "PLAIN", "SCRAM-SHA-256", ...
local credentials_class = {}

---What VRFY or EXPN asks for: the second argument at vrfy.
---@class tern.asked
---@field verb string # "vrfy" or "expn".
---@field argument string # What is asked for, as it was said.
---@field address string # The same if it is an address, without brackets; else this and the next two are empty.
---@field local_part string # What stands before the @.
---@field domain string # In lower case and A-labels; empty for a bare postmaster.
local asked_class = {}

return tern
