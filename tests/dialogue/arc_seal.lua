-- Forwards for people at far.example.
local tern = require "tern"

tern.on("rcpt", function(txn, rcpt)
  if rcpt.domain == "far.example" then rcpt:claim("forward") end
end, { claims = true })
