-- What tests/dialogue/tls.smtpt sees of TLS: a tag and a variable of hook ehlo, and the facts at mail.
local tern = require "tern"

local seen = tern.tag { name = "seen", doc = "The client has greeted." }

tern.on("ehlo", function(session)
  session.vars.greeting = session.helo
  if session.helo == "first.example" then session:tag("seen") end
end)

tern.on("mail", function(txn)
  if txn.sender.local_part == "refused" then return tern.reject("Not from that one") end
end)

tern.on("message", function(txn)
  txn:add_header("X-TLS", string.format("%s %s %s %s", txn.session.tls, txn.session.tls_version,
    txn.session.tls_cipher, txn.session:has_tag("seen")))
end)
