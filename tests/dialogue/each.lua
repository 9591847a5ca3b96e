-- each.lua - says of each recipient apart what the first part of its address says: no-, later-, hold-, drop-.
local tern = require "tern"

local opt = tern.options {
  shut = tern.bool { default = false, doc = "Refuse the whole message, once for all." },
  copy = tern.string { default = "", doc = "Who gets a copy of each message." },
}

for _, name in ipairs { "no", "later", "hold", "drop" } do
  tern.tag { name = name }
end

tern.on("rcpt", function(txn, rcpt)
  local what = rcpt.local_part:match("^(%a+)-")
  if what then
    txn:tag(what)
  end
  if rcpt.local_part:find("list", 1, true) then
    rcpt:expand { "one@example.org", "two@example.org" }
  end
end)

tern.on("message", function(txn)
  if opt.shut then
    return tern.reject(554, "5.7.1", "Not this one")
  elseif opt.copy ~= "" then
    txn:add_rcpt(opt.copy)
  end
end, { once = true })

tern.on("queue", function(txn)
  if txn:has_tag("no") then
    return tern.reject(550, "5.7.1", "Not for this one")
  elseif txn:has_tag("later") then
    return tern.defer(451, "4.7.1", "Later for this one")
  elseif txn:has_tag("hold") then
    return tern.hold("looks odd")
  elseif txn:has_tag("drop") then
    return tern.discard("dropped")
  end
  txn:add_header("X-Passed", "yes")
end)
