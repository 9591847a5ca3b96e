-- dmarc_for_some.lua - refuses what fails DMARC for those of your domains that want it; dmarc itself, which works once for a
-- message, stands before it with `enforce: false`. Switch it on by a profile: `strict: { dmarc_for_some: { mode: enforce } }`.
local tern = require "tern"

tern.on("message", function(txn)
  local r = txn.results
  -- local_policy: nothing excuses the message but that dmarc enforces nothing. Lists, forwarders and ARC have other dispositions.
  if r.dmarc == "fail" and r.dmarc_policy == "reject" and r.dmarc_disposition == "quarantine" and r.dmarc_override == "local_policy" then
    return tern.reject(550, "5.7.1", "Email rejected per DMARC policy for " .. r.dmarc_domain)
  end
end)
