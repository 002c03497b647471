-- Load for examples/shortener.lua: visits, each of which is counted, and one new link for twenty of them.
--   build/tidemark load examples/load/shortener.lua --url http://127.0.0.1:8080
thresholds = { error_rate = 0 }

local json = { ["Content-Type"] = "application/json" }
local paths, turn = {}, 0

function request()
  turn = turn + 1
  if #paths == 0 or turn % 20 == 0 then
    return wrk.format("POST", "/links", json, ('{"url": "https://example.org/page?n=%d"}'):format(turn))
  end
  return wrk.format("GET", paths[math.random(#paths)])
end

function response(status, headers)
  if status == 201 then paths[#paths + 1] = headers.Location end
end
