-- Load for examples/counter.lua: durable increments of a hundred counters, every tenth request a read.
--   build/tidemark load examples/load/counter.lua --url http://127.0.0.1:8080 --connections 50
-- More connections make more increments a second: all that wait share a sync of the disk.
thresholds = { error_rate = 0 }

local COUNTERS = 100
local known, count, turn = {}, 0, 0

function request()
  turn = turn + 1
  if turn % 10 == 0 and count > 0 then return wrk.format("GET", known[math.random(count)]) end
  return wrk.format("POST", ("/counters/load-%d"):format(math.random(COUNTERS)))
end

function response(status, _, body)
  local name = status == 200 and body:match '"name":"(.-)"'
  if name and not known[name] then
    count = count + 1
    known[name], known[count] = true, "/counters/" .. name
  end
end
