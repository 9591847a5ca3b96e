-- aliases.lua - mail for some addresses goes to others: a table says to which, "address [address ...]".
-- Mind the order: before srs, which gives what is forwarded a sender of ours, and before domains.
local tern = require "tern"

local opt = tern.options {
  aliases = tern.table { doc = "name@domain: the addresses that its mail goes to, blanks or commas between." },
}

tern.on("rcpt", function(txn, rcpt)
  local line = opt.aliases:find(rcpt.address)
  if not line then
    return
  end
  local targets = {}
  for address in line:gmatch("[^%s,]+") do
    targets[#targets + 1] = address
  end
  rcpt:claim("forward")
  rcpt:expand(targets)
end, { claims = true })
