-- Forwards as aliases do, for srs.smtpt and batv.smtpt.
local tern = require "tern"

tern.on("rcpt", function(txn, rcpt)
  if rcpt.address == "forward@example.org" then
    rcpt:claim("forward")
    rcpt:rewrite("carol@next.example")
  elseif rcpt.address == "expand@example.org" then
    rcpt:claim("forward")
    rcpt:expand { "carol@next.example", "dave@next.example" }
  end
end, { claims = true })
