-- who.lua - looks at who the client is: for xclient.smtpt.
local tern = require "tern"

tern.tag { name = "nine" }

tern.on("connect", function(session)
  if session.client == "2001:db8::66" then
    return tern.reject(554, "5.7.1", "Not from there")
  elseif session.client == "10.0.0.9" then
    session:tag("nine")
  end
end)

tern.on("mail", function(txn)
  if txn.sender.local_part == "refused" then
    return tern.reject("Not from that one")
  end
end)

tern.on("rcpt", function(txn, rcpt)
  local user = rcpt.local_part:match("^user%-(.*)")
  if user and txn.session.user ~= user then
    return tern.reject("That is " .. (txn.session.user or "nobody"))
  elseif rcpt.local_part == "tagged" and not txn.session:has_tag("nine") then
    return tern.reject("It is not tagged")
  end
end)
