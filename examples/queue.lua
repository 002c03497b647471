-- A work queue: jobs are taken in, handed to one worker at a time for as long as a lease runs, and completed.
--
-- It shows if_version as the lock that makes a claim exclusive, whichever thread answers; the event log as the source
-- of an index that each thread keeps for itself; and answers that a crash cannot take back. A job is done at least
-- once: a worker that is late has lost its lease, and is told so (409).
--
--   QUEUE_LEASE_S=30 build/tidemark serve examples/queue.lua --db data/queue
--
--   jobs=http://127.0.0.1:8080/jobs
--   curl -i $jobs --json '{"payload": {"resize": "cat.png"}}'     # 201, Location: /jobs/ID
--   curl -i $jobs/claim -X POST                                   # 200 {"id":"ID","lease":2,…}; nothing to do: 204
--   curl -i $jobs/ID/complete --json '{"lease": 2}'               # 204; 409: the lease was lost; 404: completed before
--   curl -i $jobs/ID
local app, db = ...
local jobs = db:collection "jobs"

local LEASE_S = math.tointeger(tonumber(os.getenv "QUEUE_LEASE_S" or 30))
assert(LEASE_S and LEASE_S > 0, "QUEUE_LEASE_S: a whole number of seconds")

local DURABLE = { durability = "durable" }
local STATUS = { exists = 409, conflict = 409, not_found = 404, invalid = 422, timeout = 504, full = 507,
  read_only = 403 }

local function problem(status, code, detail)
  return status, { status = status, code = code, detail = status < 500 and detail or nil },
    { ["Content-Type"] = "application/problem+json" }
end

local function refused(message, code)
  return problem(STATUS[code] or 503, code, message)
end

-- ---- The index: which jobs may be free, in their order ----
-- It may name too many, never too few; the document has the last word. What another thread did comes by the log.

local Fifo = {}
Fifo.__index = Fifo

local function fifo() return setmetatable({ first = 1, last = 0 }, Fifo) end

function Fifo:push(value)
  self.last = self.last + 1
  self[self.last] = value
end

function Fifo:peek() return self[self.first] end

function Fifo:pop()
  local value = self[self.first]
  if value == nil then return nil end
  self[self.first] = nil
  self.first = self.first + 1
  return value
end

function Fifo:push_back(value) -- as it was before pop
  self.first = self.first - 1
  self[self.first] = value
end

local free, leased = fifo(), fifo() -- ids; { id, until }: all leases are equally long, so they end in their order
local seen = db:watermarks().written

do -- what is there already; ids are UUIDv7, whose order is that of their making
  local ids = {}
  for id in jobs:each() do ids[#ids + 1] = id end
  table.sort(ids)
  for _, id in ipairs(ids) do free:push(id) end
end

local function follow(now)
  local written = db:watermarks().written
  if written > seen then
    for event in db:events { from = seen + 1, to = written, collection = jobs.name } do
      if event.type == "created" then free:push(event.id) end
      if event.type == "updated" then leased:push { event.id, event.document.lease_until } end
    end
    seen = written
  end
  while leased:peek() and leased:peek()[2] <= now do free:push(leased:pop()[1]) end
end

-- ---- Handlers ----

app:post("/jobs", function(request)
  local sent, fault = request:json()
  if fault then return problem(400, "bad_request", fault) end
  if type(sent) ~= "table" or sent.payload == nil then return problem(422, "invalid", "payload is missing") end
  local id, message, code = jobs:create({ payload = sent.payload, attempts = 0, lease_until = 0 }, DURABLE)
  if not id then return refused(message, code) end
  return 201, { id = id }, { Location = "/jobs/" .. id }
end)

app:post("/jobs/claim", function()
  local now = os.time()
  follow(now)
  for id in Fifo.pop, free do
    local job, version = jobs:get(id)
    if job and job.lease_until > now then
      leased:push { id, job.lease_until }
    elseif job then
      local attempts, lease_until = job.attempts + 1, now + LEASE_S
      local lease, message, code = jobs:update(id, { attempts = attempts, lease_until = lease_until },
        { if_version = version, durability = "durable" })
      if lease then
        return 200, { id = id, payload = job.payload, attempts = attempts, lease = lease, lease_until = lease_until }
      elseif code ~= "conflict" and code ~= "not_found" then -- these: another thread was faster; it comes by the log
        free:push_back(id)
        return refused(message, code)
      end
    end
  end
  return 204
end)

app:post("/jobs/:id/complete", function(request)
  local sent, fault = request:json()
  if fault then return problem(400, "bad_request", fault) end
  local lease = type(sent) == "table" and math.tointeger(sent.lease) or 0
  if lease < 1 then return problem(422, "invalid", "lease: the number that came with the job is needed") end
  local ok, message, code = jobs:delete(request.params.id, { if_version = lease, durability = "durable" })
  if not ok then return refused(message, code) end
  return 204
end)

app:get("/jobs/:id", function(request)
  local job = jobs:get(request.params.id)
  if not job then return problem(404, "not_found", "no such job: completed, or never taken in") end
  return 200, { id = job.id, payload = job.payload, attempts = job.attempts, leased = job.lease_until > os.time() }
end)
