-- Counters: an answer means that the count is on the disk.
--
-- It shows durable writes and reads, which cost a handler nothing but time: while it waits others are answered, and all
-- that wait share one sync of the disk. And how a client that got no answer finds out whether it was counted: it sends
-- the ETag that it knew, and 412 says yes (or somebody else was faster).
--
--   build/tidemark serve examples/counter.lua --db data/counter --timeout-ms 5000
--
--   counters=http://127.0.0.1:8080/counters
--   curl -i $counters/visits -X POST                              # 200 {"name":"visits","value":1}
--   curl -i $counters/visits --json '{"by": 10}'
--   curl -i $counters/visits                                      # its ETag is the version
--   curl -i $counters/visits -H 'If-Match: "1"' --json '{"by": 1}'        # 412
local app, db = ...
local counters = db:collection "counters"

local BY_MAX = 1000000000
local VALUE_MAX = 2 ^ 53 // 1 | 0 -- what every reader of JSON takes exactly

local STATUS = { conflict = 412, invalid = 422, timeout = 504, full = 507, read_only = 403 }

local function problem(status, code, detail)
  return status, { status = status, code = code, detail = status < 500 and detail or nil },
    { ["Content-Type"] = "application/problem+json", ["Retry-After"] = code == "busy" and 1 or nil }
end

local function answer(name, value, version)
  return 200, { name = name, value = value }, { ETag = ('"%d"'):format(version), ["Cache-Control"] = "no-store" }
end

--- What is to be added: 1 unless the body says else; or nil, and the problem with it.
local function read_by(request)
  if request.body == "" then return 1 end
  local sent, malformed = request:json()
  if malformed then return nil, 400, "bad_request", malformed end
  local by = type(sent) == "table" and sent.by or nil
  if math.type(by) ~= "integer" or by < -BY_MAX or by > BY_MAX then
    return nil, 422, "invalid", ("by: a whole number from %d to %d is needed"):format(-BY_MAX, BY_MAX)
  end
  return by
end

app:post("/counters/:name", function(request)
  local by, status, kind, fault = read_by(request)
  if not by then return problem(status, kind, fault) end
  local name, expected = request.params.name, request.headers["if-match"]
  while true do -- until nobody else was faster
    local counter, version = counters:get(name)
    version = version or 0 -- absent
    if expected and expected ~= ('"%d"'):format(version) then
      return problem(412, "conflict", "the counter has another version")
    end
    local value = (counter and counter.value or 0) + by
    if value < -VALUE_MAX or value > VALUE_MAX then return problem(422, "invalid", "the counter would overflow") end
    local written, message, code = counters:put({ id = name, value = value },
      { if_version = version, durability = "durable" })
    if written then return answer(name, value, written) end
    if code ~= "conflict" then return problem(STATUS[code] or 503, code, message) end
  end
end)

app:get("/counters/:name", function(request)
  local name = request.params.name
  local counter, version = counters:get(name)
  if not counter then return problem(404, "not_found", "no counter " .. name) end
  local ok, message, code = db:wait(version) -- nobody is told a value that a crash could take back
  if not ok then return problem(STATUS[code] or 503, code, message) end
  return answer(name, counter.value, version)
end)
