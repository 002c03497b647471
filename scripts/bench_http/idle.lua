-- idle.lua PORT COUNT: opens connections and does nothing with them, until it is told to end.
local uv = require "luv"
local port, count = math.tointeger(tonumber(arg[1])), math.tointeger(tonumber(arg[2]))
local sockets, open = {}, 0

local function connect()
  local socket = uv.new_tcp()
  sockets[#sockets + 1] = socket
  assert(socket:connect("127.0.0.1", port, function(failure)
    assert(not failure, failure)
    open = open + 1
    if #sockets < count then connect() end
    if open == count then
      io.write "connected\n"
      io.stdout:flush()
    end
  end))
end

for _ = 1, math.min(100, count) do connect() end
uv.run()
