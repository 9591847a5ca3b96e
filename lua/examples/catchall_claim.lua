-- catchall_claim.lua - take mail for any address of some domains and hand it to one mailbox each.
local tern = require "tern"

local opt = tern.options {
  domains = tern.map { doc = "domain: the mailbox that gets all its mail." },
}

tern.on("rcpt", function(txn, rcpt)
  local mailbox = opt.domains[rcpt.domain]
  if mailbox then
    rcpt:claim("local")
    if rcpt.address ~= mailbox then
      rcpt:rewrite(mailbox)
    end
  end
end, { claims = true, answers = {} })
