-- auth_keys.lua - for auth.smtpt: gives keys for SCRAM and CRAM-MD5.
local tern = require "tern"

tern.on("auth", function(session, credentials)
  if credentials.user == "user" then
    return tern.accept { password = "pencil", user = "user@example.org" }
  end
end, { form = "lookup" })
