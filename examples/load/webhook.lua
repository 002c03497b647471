-- Load for examples/webhook.lua: events come in, every fifth request asks what became of one.
--   build/tidemark load examples/load/webhook.lua --url http://127.0.0.1:8080 --rate 200
-- The outbox takes 5,000 events: at a rate that the receiver cannot follow, 503 says so, and the threshold is missed.
thresholds = { error_rate = 0 }

local json = { ["Content-Type"] = "application/json" }
local paths, turn = {}, 0

function request()
  turn = turn + 1
  if turn % 5 == 0 and #paths > 0 then return wrk.format("GET", paths[math.random(#paths)]) end
  return wrk.format("POST", "/events", json, ('{"order": %d, "state": "paid"}'):format(turn))
end

function response(status, headers)
  if status == 202 then paths[#paths + 1] = headers.Location end
end
