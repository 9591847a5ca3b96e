-- forward.lua - routing by Lua: some domains go to hosts that a table names, "host[:port] [host ...]".
local tern = require "tern"

local opt = tern.options {
  hosts = tern.table { doc = "domain: the hosts that take its mail, the first one first." },
  source = tern.string { default = "", doc = "The address to send from." },
}

tern.on("route", function(message, rcpts)
  local line = opt.hosts:find(rcpts[1].domain)
  if not line then
    return
  end
  local hosts = {}
  for host in line:gmatch("%S+") do
    hosts[#hosts + 1] = host
  end
  return tern.route {
    transport = "smtp",
    to = { table.remove(hosts, 1) },
    fallback = hosts,
    source = opt.source ~= "" and opt.source or nil,
  }
end)
