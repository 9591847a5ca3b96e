-- batv.lua - for batv.smtpt: writes down what batv has found, and adds a recipient.
local tern = require "tern"

tern.on("message", function(txn)
  if txn:header("Subject") == "add" then
    txn:add_rcpt("alice@example.org")
  end
  txn:add_header("X-Batv", txn.results.batv or "not_run")
end)
