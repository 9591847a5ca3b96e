-- Tells what dmarc found, as a refusal.
local tern = require "tern"

tern.on("message", function(txn)
  local r = txn.results
  return tern.reject(550, "5.7.1", r.dmarc .. " " .. r.dmarc_policy .. "/" .. r.dmarc_disposition .. "/" .. r.dmarc_override
    .. " " .. r.dmarc_detail)
end)
