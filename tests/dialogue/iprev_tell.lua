-- iprev_tell.lua - tells in the reply what a step behind iprev reads.
local tern = require "tern"

tern.on("rcpt", function(txn, rcpt)
  local r = txn.results
  return tern.reject(550, "5.7.1", r.iprev .. " [" .. r.iprev_name .. "] " .. r.iprev_detail)
end)
