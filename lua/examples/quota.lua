-- quota.lua - how many recipients a user who logged in may write to in an hour.
local tern = require "tern"

local opt = tern.options {
  max = tern.int { default = 200, min = 1, doc = "Recipients in the period." },
  period = tern.duration { default = "1h", doc = "How long a count lives, from its first recipient on." },
  exempt = tern.table { default = {}, doc = "Users without a limit." },
}

tern.on("rcpt", function(txn)
  local user = txn.session.user
  if not user or opt.exempt and opt.exempt:find(user) then
    return
  end
  local count = tern.kv.add("count " .. user, 1, opt.period)
  if count > opt.max then
    tern.note("count", count)
    return tern.defer(450, "4.7.1", "Over " .. opt.max .. " recipients in a short time; please wait")
  end
end)
