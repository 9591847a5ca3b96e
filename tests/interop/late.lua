-- late.lua - what late.c is, as a script.
local tern = require "tern"

local opt = tern.options { act = tern.string { default = "", doc = "What to do." } }

tern.on("message", function(txn)
  tern.log.info("seen message " .. txn.rcpt_count)
  if opt.act == "edit" then
    txn:add_header("X-Top", "first")
  elseif opt.act == "reject" then
    return tern.reject(550, "5.7.1", "late rejects")
  elseif opt.act == "defer" then
    return tern.defer(451, "4.7.1", "late defers")
  elseif opt.act == "hold" then
    return tern.hold("late holds")
  end
end)
