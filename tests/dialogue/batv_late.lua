-- batv_late.lua - for batv.smtpt: a step behind that refuses somebody.
local tern = require "tern"

tern.on("rcpt", function(txn, rcpt)
  if rcpt.address == "nobody@example.org" then
    return tern.reject(550, "5.1.1", "nobody of that name")
  end
end)
