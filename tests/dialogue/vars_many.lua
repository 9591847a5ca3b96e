local tern = require "tern"
tern.on("mail", function(txn)
  for i = 1, 2000 do txn.vars["n" .. i] = i end
end)
tern.on("rcpt", function(txn, rcpt)
  txn.vars.n7 = rcpt.address -- one that is there
  if rcpt.address == "more@example.org" then txn.vars.more = true end
end)
