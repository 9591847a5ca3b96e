-- auth.lua - for auth.smtpt: a backend that knows alice, and can be down.
local tern = require "tern"

tern.on("auth", function(session, credentials)
  if credentials.user == "down" then
    return tern.defer("backend down")
  elseif credentials.user == "broken" then
    error("backend talks rubbish")
  elseif credentials.user == "alias" and credentials.password == "secret" then
    return tern.accept("alice@example.org")
  elseif credentials.user == "two" and credentials.password == "secret" then
    return tern.accept("mallory@example.org,boss@example.org")
  elseif credentials.user ~= "alice@example.org" then
    return nil
  elseif credentials.password == "secret" then
    return tern.accept()
  end
  return tern.reject("Authentication credentials invalid")
end)
