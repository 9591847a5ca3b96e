-- What a script reads of dkim_verify, in a field.
local tern = require "tern"

tern.on("message", function(txn)
  local r = txn.results
  txn:add_header("X-Dkim", r.dkim .. " [" .. r.dkim_domains .. "] " .. r.dkim_detail)
end)
