-- batv.lua - for batv.smtpt: writes down what batv has found.
local tern = require "tern"

tern.on("message", function(txn)
  txn:add_header("X-Batv", txn.results.batv or "not_run")
end)
