-- auth_exchange.lua - for auth_exchange.smtpt: a mechanism of its own, in as many steps as there are questions.
local tern = require "tern"

local opt = tern.options {
  sums = tern.int { default = 2, doc = "How many sums a user has to do." },
}

tern.on("auth", function(session, credentials)
  assert(credentials.user == "" and credentials.password == "")
  local user = credentials.response or tern.challenge("Who are you?")
  if user == "stranger" then return nil end -- another step may know
  if user == "nobody" then return tern.accept() end -- an error: who?
  if user == "down" then return tern.defer(454, "4.7.0", "The abacus is broken") end
  for n = 1, opt.sums do
    tern.kv.add("asked " .. user, 1)
    local a = tern.challenge(("%d + %d?"):format(n, n))
    if tonumber(a) ~= 2 * n then return tern.reject(535, "5.7.8", "That is not the sum") end
  end
  if user == "endless" then
    while true do tern.challenge("again") end
  end
  session.vars.sums = tern.kv.get("asked " .. user)
  return tern.accept(user .. "@example.org")
end, { form = "exchange", mechanisms = { "X-SUMS" } })
