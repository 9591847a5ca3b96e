local tern = require "tern"

tern.on("connect", function(session)
  return tern.reject("not you")
end)

tern.on("vrfy", function(session, asked)
  return tern.confirm("<alice@example.org>")
end)
