local tern = require "tern"

tern.on("vrfy", function(session, asked)
  error("the directory is down")
end)
