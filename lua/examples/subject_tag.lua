-- subject_tag.lua - mark the subject of mail that comes from outside.
local tern = require "tern"

local opt = tern.options {
  mark = tern.string { default = "[external]", doc = "What to put before the subject." },
  networks = tern.cidrs { default = { "127.0.0.0/8", "::1/128" }, doc = "Clients that are not outside." },
}

tern.tag { name = "external", doc = "The message came from outside." }

tern.on("message", function(txn)
  local session = txn.session
  if session.user or opt.networks:contains(session.client) then
    return
  end
  txn:tag("external")
  local subject = txn:header("Subject", { raw = true })
  if not subject then
    txn:add_header("Subject", opt.mark)
  elseif not subject:find(opt.mark, 1, true) then
    txn:replace_header("Subject", opt.mark .. " " .. subject)
  end
end, { answers = {} })
