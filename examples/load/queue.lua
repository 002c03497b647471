-- Load for examples/queue.lua: each connection brings in jobs, claims some and completes what it has claimed.
--   build/tidemark load examples/load/queue.lua --url http://127.0.0.1:8080 --connections 50
-- A lease must be longer than the run, else a job is claimed again and its first worker gets 409.
thresholds = { error_rate = 0 }

local json = { ["Content-Type"] = "application/json" }
local claimed, turn = {}, 0

function request()
  local job = table.remove(claimed)
  if job then return wrk.format("POST", ("/jobs/%s/complete"):format(job.id), json, ('{"lease": %s}'):format(job.lease)) end
  turn = turn + 1
  if turn % 2 == 0 then return wrk.format("POST", "/jobs/claim") end
  return wrk.format("POST", "/jobs", json, ('{"payload": {"turn": %d}}'):format(turn))
end

function response(status, _, body)
  if status == 200 then
    claimed[#claimed + 1] = { id = body:match '"id":"(.-)"', lease = body:match '"lease":(%d+)' }
  end
end
