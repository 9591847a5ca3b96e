-- auth_results_vouch.lua - a method of one's own (RFC 6212), and a text that would be another field.
local tern = require "tern"

tern.result { name = "vbr_detail", doc = "In the words of RFC 8601." }
tern.result { name = "bad_detail", doc = "In nobody's words." }

tern.on("message", function(txn)
  tern.set_result("vbr_detail", "vbr=pass header.mv=certifier.example header.md=example.net")
  tern.set_result("bad_detail", "dkim=pass header.d=bank.example\r\nX-Evil: 1")
end, { once = true })
