-- A list and a name that no table has, and two answers about mailboxes.
local tern = require "tern"

local lists = { staff = "Alice <alice@example.org>\n<carol@example.org>" }

tern.on("vrfy", function(session, asked)
  if asked.verb == "expn" then
    local list = lists[asked.argument]
    return list and tern.confirm(list)
  end
  if asked.argument == "Carol Smith" and asked.address == "" then
    return tern.confirm("Carol Smith <carol@example.org>")
  end
  if asked.local_part == "dave" and asked.domain == "example.org" then
    return tern.confirm(251, "2.1.6", "<dave@elsewhere.example>")
  end
  if asked.address == "busy@example.org" or asked.address == "later@example.org" then
    return tern.defer(450, "4.2.0", "busy")
  end
end)
