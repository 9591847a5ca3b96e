-- trace.lua - what trace.c is, as a script: called at every hook, says so, does what `acts` says there.
local tern = require "tern"

local opt = tern.options {
  acts = tern.map { default = {}, doc = "hook: what to do there." },
  to = tern.list("string", { default = {}, doc = "Next hops for route and deliver." }),
  transport = tern.string { default = "", doc = "Transport for route and deliver." },
}
tern.tag { name = "traced", doc = "Seen by trace." }
tern.result { name = "trace", doc = "Set by trace." }

local function seen(hook, what)
  tern.log.info("seen " .. hook .. " " .. (what or ""))
end

local function usual(hook, object)
  local act = opt.acts[hook]
  if act == "tag" then
    object:tag("traced")
  elseif act == "result" then
    tern.set_result("trace", "yes")
  elseif act == "reject" then
    return tern.reject(550, "5.7.1", "trace rejects at " .. hook)
  elseif act == "defer" then
    return tern.defer(451, "4.7.1", "trace defers at " .. hook)
  elseif act == "close" then
    return tern.close(421, "4.7.0", "trace closes at " .. hook)
  elseif act == "hold" then
    return tern.hold("trace holds at " .. hook)
  elseif act == "discard" then
    return tern.discard()
  end
end

local function edit(txn)
  txn:add_header("X-Top", "first")
  txn:append_header("X-Bottom", "last")
  txn:replace_header("Subject", "replaced")
  txn:remove_header("X-Remove", 2)
end

local function hops()
  local to = {}
  for i, hop in ipairs(opt.to) do
    to[i] = hop
  end
  return { transport = opt.transport, to = to }
end

tern.on("connect", function(session)
  seen("connect", session.client)
  session.vars.from_connect = "remembered"
  return usual("connect", session)
end)

tern.on("ehlo", function(session)
  seen("ehlo", session.helo)
  if opt.acts.ehlo == "withhold" then
    session:withhold("SIZE")
  end
  return usual("ehlo", session)
end)

tern.on("mail", function(txn)
  seen("mail", txn.sender.address)
  if opt.acts.mail == "rewrite" then
    txn:rewrite_sender("rewritten@home.example")
  end
  return usual("mail", txn)
end)

tern.on("rcpt", function(txn, rcpt)
  seen("rcpt", rcpt.address)
  local act = opt.acts.rcpt
  if act == "claim" and rcpt.domain == "claimed.example" then
    rcpt:claim("local")
  elseif act == "rewrite" then
    rcpt:rewrite("new@home.example")
  elseif act == "expand" then
    rcpt:expand { "one@home.example", "two@home.example" }
  end
  return usual("rcpt", txn)
end, { claims = true })

tern.on("data", function(txn)
  seen("data", txn.id)
  return usual("data", txn)
end)

tern.on("message", function(txn)
  seen("message", txn:header("subject") or "none")
  assert(txn.session.vars.from_connect == "remembered")
  tern.note("body begins", txn:body(0, 5))
  if opt.acts.message == "edit" then
    edit(txn)
  elseif opt.acts.message == "add" then
    txn:add_rcpt("added@home.example")
  end
  return usual("message", txn)
end)

tern.on("queue", function(txn)
  seen("queue", txn.sender.address)
  if opt.acts.queue == "edit" then
    edit(txn)
  end
  return usual("queue", txn)
end)

tern.on("sign", function(txn)
  seen("sign", txn.id)
  if opt.acts.sign == "header" then
    txn:add_header("X-Signature", "signed")
  end
  return usual("sign", txn)
end)

tern.on("route", function(message, rcpts)
  seen("route", rcpts[1].address)
  if opt.acts.route == "route" then
    return tern.route(hops())
  elseif opt.acts.route == "drop" then
    return tern.route { discard = "trace drops it" }
  end
  return usual("route", message)
end)

tern.on("deliver", function(message, rcpts)
  seen("deliver", rcpts[1].address)
  if opt.acts.deliver == "route" then
    return tern.route(hops())
  end
  return usual("deliver", message)
end)

tern.on("result", function(message)
  seen("result", message.outcome)
end)

tern.on("close", function(session)
  seen("close", session.helo)
end)
