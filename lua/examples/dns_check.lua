-- dns_check.lua - refuse senders whose domain could not get an answer: no MX, no address.
local tern = require "tern"

tern.result { name = "sender_domain", values = { "found", "missing", "unknown" } }

local function exists(domain)
  for _, type in ipairs { "MX", "A", "AAAA" } do
    local records, why, temporary = tern.dns(domain, type)
    if records or temporary then
      return records ~= nil, temporary and why
    end
  end
  return false
end

tern.on("mail", function(txn)
  local domain = txn.sender.domain
  if domain == "" or domain:find("^%[") then
    return -- a bounce, or an address literal
  end
  local found, trouble = exists(domain)
  if trouble then
    tern.set_result("sender_domain", "unknown")
    return tern.defer(451, "4.1.8", "The domain " .. domain .. " cannot be looked up at the moment")
  end
  tern.set_result("sender_domain", found and "found" or "missing")
  if not found then
    return tern.reject(550, "5.1.8", "The domain " .. domain .. " takes no mail")
  end
end)
