-- attachments.lua - refuse messages with attachments of some endings.
local tern = require "tern"

local opt = tern.options {
  extensions = tern.list("string", {
    default = { "exe", "scr", "js", "vbs" },
    doc = "Endings of file names to refuse, in lower case.",
  }),
}

tern.result { name = "attachments", values = { "clean", "refused" } }

tern.on("message", function(txn)
  for part in txn:parts() do
    local ending = (part.filename or ""):match("%.(%w+)$")
    if ending and tern.contains(opt.extensions, ending:lower()) then
      tern.note("filename", part.filename)
      tern.set_result("attachments", "refused")
      return tern.reject(550, "5.7.1", "Attachments ending in ." .. ending .. " are not accepted here")
    end
  end
  tern.set_result("attachments", "clean")
end)
