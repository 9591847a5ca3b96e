-- early.lua - who talks before he is greeted is refused.
local tern = require "tern"

tern.on("connect", function(session)
  if session.early_octets > 0 then
    return tern.reject(554, "5.5.0", "You said " .. session.early_octets .. " octets too early")
  end
end, { answers = { "reject" } })

tern.on("mail", function(txn)
  assert(txn.session.early_octets == 0)
end, { answers = {} })
