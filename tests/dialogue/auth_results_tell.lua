-- auth_results_tell.lua - what a step behind auth_results sees.
local tern = require "tern"

tern.on("message", function(txn)
  txn:add_header("X-Forged", txn:has_tag("auth_results_forged") and "yes" or "no")
  txn:add_header("X-Texts", txn.results.spf_detail)
end)
