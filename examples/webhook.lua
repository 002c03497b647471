-- A webhook's sending side: takes events in, keeps them, and delivers each to a receiver until it is taken.
--
-- It shows luv beside the server: a timer, and an outgoing HTTP request that a coroutine waits for without keeping the
-- thread from its work, be it a handler's coroutine or one of our own. The outbox pattern: an event is durable before
-- it is accepted, and removed once the receiver has answered 2xx. Receivers get an event at least once, and tell
-- repeats by Webhook-Id. Whichever thread comes first delivers: if_version decides.
--
--   WEBHOOK_TARGET=http://127.0.0.1:9000/hook build/tidemark serve examples/webhook.lua --db data/webhook
--
--   events=http://127.0.0.1:8080/events
--   curl -i $events --json '{"order": 17, "state": "paid"}'       # 202, Location: /events/ID
--   curl -i $events/ID                                            # {"state":"pending","attempts":2,…}, then delivered
--   curl -i $events/ID/deliver -X POST                            # now, and wait for it
local app, db = ...
local tidemark = require "tidemark"
local uv = require "luv"

local PENDING_MAX = 5000 -- beyond it events are refused: a receiver that is down for days must not fill the memory
local AT_ONCE_MAX = 16
local ATTEMPTS_MAX = 12 -- with the doubling pause more than an hour; then the event goes to the collection "dead"
local TIMEOUT_MS = 5000
local PAUSE_MAX_S = 3600

local target = os.getenv "WEBHOOK_TARGET" or "http://127.0.0.1:9000/hook"
local host, port, path = target:match "^http://([%w.-]+):?(%d*)(/?[^%s%c#]*)$"
assert(host, "WEBHOOK_TARGET: http://HOST[:PORT][/PATH] is needed")
port = port ~= "" and port or "80"
path = path:sub(1, 1) == "/" and path or "/" .. path

local outbox, dead = db:collection "outbox", db:collection "dead"
-- Our own coroutines may not wait for the disk as handlers do: that would hold up the thread.
local ACCEPTED = { durability = "accepted" }
local STATUS = { not_found = 404, invalid = 422, timeout = 504, full = 507, read_only = 403 }

local function problem(status, code, detail)
  return status, { status = status, code = code, detail = status < 500 and detail or nil },
    { ["Content-Type"] = "application/problem+json", ["Retry-After"] = code == "busy" and 60 or nil }
end

local function log(text, ...)
  io.stderr:write("webhook: ", text:format(...), "\n")
end

-- ---- The outgoing request ----

--- POSTs to the target; to be called in a coroutine. Returns the status; or nil and why there is none.
local function post(id, body)
  local coroutine_waiting = coroutine.running()
  local tcp, timer = uv.new_tcp(), uv.new_timer()
  local over, received = false, ""
  local function finish(...) -- whatever comes first
    if over then return end
    over = true
    tcp:close()
    timer:close()
    local ok, message = coroutine.resume(coroutine_waiting, ...)
    if not ok then log("%s", debug.traceback(coroutine_waiting, message)) end
  end
  local function on_read(failure, bytes)
    if failure or not bytes then return finish(nil, failure or "closed without an answer") end
    received = received .. bytes
    local status = received:match "^HTTP/1%.[01] (%d%d%d)[ \r]"
    if status then return finish(tonumber(status)) end
    if #received >= 16 then return finish(nil, "the answer is not HTTP") end
  end
  local function on_connect(failure)
    if over then return end
    if failure then return finish(nil, failure) end
    tcp:read_start(on_read)
    tcp:write { ("POST %s HTTP/1.1\r\nHost: %s:%s\r\nConnection: close\r\nContent-Type: application/json\r\n")
      :format(path, host, port), ("Webhook-Id: %s\r\nContent-Length: %d\r\n\r\n"):format(id, #body), body }
  end
  timer:start(TIMEOUT_MS, 0, function() finish(nil, "no answer in time") end)
  local asked, fault = uv.getaddrinfo(host, port, { socktype = "stream" }, function(failure, addresses)
    if over then return end
    if failure or not addresses[1] then return finish(nil, failure or "no address") end
    local started, reason = tcp:connect(addresses[1].addr, addresses[1].port, on_connect)
    if not started then finish(nil, reason) end
  end)
  if not asked then
    tcp:close()
    timer:close()
    return nil, fault
  end
  return coroutine.yield()
end

-- ---- Delivering ----

local function pause_s(attempts)
  return math.min(2 ^ (attempts - 1), PAUSE_MAX_S) // 1 | 0
end

--- One attempt; to be called in a coroutine. True; or nil, message and a code: "conflict" (others are at it), "undelivered".
local function deliver(id)
  local event, version = outbox:get(id)
  if not event then return nil, "no such event is pending", "not_found" end
  local now = os.time()
  if event.busy_until > now then return nil, "it is being delivered", "conflict" end
  event.attempts = event.attempts + 1
  event.busy_until = now + TIMEOUT_MS // 1000 + 1 -- a thread that ends here loses its claim then
  event.next_at = event.busy_until
  local claimed, message, code = outbox:put(event, { if_version = version, durability = "accepted" })
  if not claimed then return nil, message, code end
  local status, failure = post(id, event.payload)
  if status and status >= 200 and status <= 299 then
    local deleted, why = outbox:delete(id, { if_version = claimed, durability = "accepted" })
    if not deleted then log("%s was delivered, and will be again: %s", id, why) end
    return true
  end
  event.error = failure or ("the receiver answered %d"):format(status)
  event.busy_until, event.next_at = 0, os.time() + pause_s(event.attempts)
  local final = event.attempts >= ATTEMPTS_MAX
  local kept, why
  if final then
    kept, why = dead:put(event, ACCEPTED)
    if kept then kept, why = outbox:delete(id, { if_version = claimed, durability = "accepted" }) end
  else
    kept, why = outbox:put(event, { if_version = claimed, durability = "accepted" })
  end
  if not kept then log("%s: %s", id, why) end
  log("%s, attempt %d: %s%s", id, event.attempts, event.error, final and "; given up" or "")
  return nil, event.error, "undelivered"
end

local under_way = 0

--- Delivers in a coroutine of its own, if there are not too many already; the timer comes back to it.
local function deliver_soon(id)
  if under_way >= AT_ONCE_MAX then return end
  under_way = under_way + 1
  coroutine.wrap(function()
    local ok, message = xpcall(deliver, debug.traceback, id)
    under_way = under_way - 1
    if not ok then log("%s: %s", id, message) end
  end)()
end

uv.new_timer():start(500, 500, function()
  local now, due = os.time(), {}
  for id, event in outbox:each() do
    if event.next_at <= now then due[#due + 1] = id end
    if under_way + #due >= AT_ONCE_MAX then break end
  end
  for _, id in ipairs(due) do deliver_soon(id) end
end)

-- ---- Handlers ----

app:post("/events", function(request)
  local sent, fault = request:json()
  if fault then return problem(400, "bad_request", fault) end
  if type(sent) ~= "table" then return problem(422, "invalid", "an event is an object or an array") end
  if #outbox >= PENDING_MAX then return problem(503, "busy") end
  -- The payload is kept as it was sent, byte for byte.
  local id, message, code = outbox:create({ payload = request.body, attempts = 0, next_at = 0, busy_until = 0 },
    { durability = "durable" })
  if not id then return problem(STATUS[code] or 503, code, message) end
  deliver_soon(id)
  return 202, { id = id, state = "pending" }, { Location = "/events/" .. id }
end)

local function view(event, state)
  return { id = event.id, state = state, attempts = event.attempts, error = event.error or tidemark.null }
end

app:get("/events/:id", function(request)
  local id = request.params.id
  local event = outbox:get(id)
  if event then return 200, view(event, "pending") end
  event = dead:get(id)
  if event then return 200, view(event, "dead") end
  -- What is in neither was delivered, or has never been: its history knows.
  for past in db:events { collection = outbox.name, id = id } do event = past.document or event end
  if event then return 200, view(event, "delivered") end
  return problem(404, "not_found", "no such event")
end)

app:post("/events/:id/deliver", function(request)
  local ok, message, code = deliver(request.params.id)
  if ok then return 200, { id = request.params.id, state = "delivered" } end
  if code == "conflict" then return problem(409, code, message) end
  if code == "undelivered" then return 502, { status = 502, code = code, detail = message } end
  return problem(STATUS[code] or 503, code, message)
end)
