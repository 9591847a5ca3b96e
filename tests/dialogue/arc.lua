-- What a script reads of arc_verify, in a field.
local tern = require "tern"

tern.on("message", function(txn)
  local r = txn.results
  txn:add_header("X-Arc", r.arc .. " " .. r.arc_trusted .. " [" .. r.arc_domains .. "] " .. r.arc_detail)
end)
