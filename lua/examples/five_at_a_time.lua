-- five_at_a_time.lua - take few recipients of one domain per message; the rest comes in the next one.
local tern = require "tern"

local opt = tern.options {
  domain = tern.string { doc = "The domain to slow down." },
  max = tern.int { default = 5, min = 1, max = 1000, doc = "Recipients of it per message." },
}

tern.on("rcpt", function(txn, rcpt)
  if rcpt.domain ~= opt.domain then
    return
  end
  local count = 0
  for other in txn:rcpts() do
    if other.domain == opt.domain then
      count = count + 1
    end
  end
  if count >= opt.max then
    return tern.defer(452, "4.5.3", "Only " .. opt.max .. " at a time here, please")
  end
end, { answers = { "defer" } })
