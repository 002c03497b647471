-- http_server.lua: a small HTTP/1.1 server for specs, run as `lua5.4 spec/support/http_server.lua LOG [reset]`.
--
-- Binds a free port of 127.0.0.1, prints `PORT PID`, and ends on SIGTERM, at the latest after a minute. The target's
-- first part says how a request is answered (see `ways`), the second is a number for it; answers keep the order of the
-- requests on their connection. LOG gets a line of JSON for each request received, before it is answered, and one for
-- each answer sent. With `reset`, each connection is reset 50 ms after it was accepted.
local uv = require "luv"
local cjson = require "cjson"

local LIFETIME_MS = 60000
local log = assert(io.open(arg[1], "wb"))
local resets = arg[2] == "reset"
local listener = uv.new_tcp()
local connections = {} -- the open ones
local connection_count, received, stalled = 0, 0, false

local function note(entry)
  log:write(cjson.encode(entry), "\n")
  log:flush()
end

local REASONS = { [200] = "OK", [204] = "No Content", [404] = "Not Found", [503] = "Service Unavailable" }

local function answer(status, headers, body)
  local lines = { ("HTTP/1.1 %d %s"):format(status, REASONS[status] or "Whatever") }
  for _, header in ipairs(headers or {}) do lines[#lines + 1] = header end
  if body then lines[#lines + 1] = "Content-Length: " .. #body end
  return table.concat(lines, "\r\n") .. "\r\n\r\n" .. (body or "")
end

-- ---- Connections ----

local function close(connection)
  connections[connection] = nil
  if not connection.tcp:is_closing() then connection.tcp:close() end
end

--- Sends what is ready, in order.
local function flush(connection)
  while connection.waiting[1] and connection.waiting[1].bytes do
    local request = table.remove(connection.waiting, 1)
    if connection.tcp:is_closing() then return end
    note { sent = #request.bytes, connection = connection.number }
    connection.tcp:write(request.bytes, request.closes and function() close(connection) end or nil)
  end
end

local function send(request, bytes, closes)
  request.bytes, request.closes = bytes, closes
  request.connection.closes = request.connection.closes or closes
  flush(request.connection)
end

local function later(milliseconds, action)
  local timer = uv.new_timer()
  timer:start(milliseconds, 0, function()
    timer:close()
    action()
  end)
end

-- ---- Ways to answer ----

local ways = {}

--- /status/404: that status.
function ways.status(request, number)
  if number == 204 or number == 304 then return send(request, answer(number)) end
  send(request, answer(number, nil, ("status %d\n"):format(number)))
end

--- /delay/50: 50 ms later.
function ways.delay(request, number)
  later(number, function() send(request, answer(200, nil, "late\n")) end)
end

--- /echo: the body, or the target when there is none, with headers in mixed case.
function ways.echo(request)
  local body = request.body ~= "" and request.body or request.target
  local bytes = answer(200, { "X-Mixed-Case: as IT was", "x-lower: 1", "Content-Type: text/plain" }, body)
  send(request, request.method == "HEAD" and bytes:sub(1, #bytes - #body) or bytes)
end

--- /chunked: in three pieces, a trailer after them.
ways.chunked = function(request)
  send(request, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Kind: chunks\r\n\r\n"
    .. "5\r\nhello\r\n1\r\n,\r\n6\r\n world\r\n0\r\nX-Trailer: end\r\n\r\n")
end

--- /slow-chunks: the same text, in pieces that are cut anywhere.
ways["slow-chunks"] = function(request)
  local pieces = { "HTTP/1.1 200 OK\r\nTransfer-Enc", "oding: chunked\r\n\r\n5\r\nhel", "lo\r\n1\r\n,\r",
    "\n6\r\n world\r\n0\r\n", "\r\n" }
  local function go_on(i)
    if request.connection.tcp:is_closing() then return end
    if i == #pieces then return send(request, pieces[i]) end
    note { sent = #pieces[i], connection = request.connection.number }
    request.connection.tcp:write(pieces[i])
    later(5, function() go_on(i + 1) end)
  end
  go_on(1)
end

--- /continue: an interim answer first.
ways.continue = function(request)
  send(request, "HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n" .. answer(200, { "X-Kind: final" }, "done"))
end

--- /until-close: an answer whose end is that of the connection.
ways["until-close"] = function(request) send(request, "HTTP/1.1 200 OK\r\n\r\nto the end", true) end

--- /close: answers, says that it closes, and does.
function ways.close(request) send(request, answer(200, { "Connection: close" }, "bye\n"), true) end

--- /quiet-close: answers and closes without a word.
ways["quiet-close"] = function(request) send(request, answer(200, nil, "bye\n"), true) end

--- /cut: closes instead of an answer; /half: after half of one.
function ways.cut(request) close(request.connection) end
function ways.half(request) send(request, answer(200, nil, ("x"):rep(100)):sub(1, -51), true) end

--- /garbage: no HTTP; /extra: two answers to one request.
function ways.garbage(request) send(request, "220 this is a mail server\r\n\r\n") end
function ways.extra(request) send(request, answer(200, nil, "one") .. answer(200, nil, "two")) end

--- /refuse: the connection is reset when the head has come (see take_request). /never: no answer.
function ways.never() end

--- /gather/4: no answer before 4 requests wait on the connection.
function ways.gather(request, number)
  local waiting = request.connection.waiting
  if #waiting < number then return end
  for i = 1, #waiting do waiting[i].bytes = answer(200, nil, "together\n") end
  flush(request.connection)
end

--- /stall-once/300: the whole server stands still for 300 ms, at the first such request.
ways["stall-once"] = function(request, number)
  if not stalled then
    stalled = true
    uv.sleep(number)
  end
  send(request, answer(200, nil, "ok\n"))
end

--- /fail-first/20: the first 20 requests the server ever got are answered with 503.
ways["fail-first"] = function(request, number) send(request, answer(received <= number and 503 or 200, nil, "")) end

--- /authenticate and /resource: the latter is for who shows the former's token.
function ways.authenticate(request) send(request, answer(200, { "X-Token: secret-42" }, "")) end
function ways.resource(request)
  send(request, answer(request.headers["X-Token"] == "secret-42" and 200 or 403, nil, ""))
end

--- /shutdown: answers, then nobody listens any more and all connections are closed.
function ways.shutdown(request)
  if not listener:is_closing() then listener:close() end
  send(request, answer(200, nil, ""))
  later(20, function()
    local open = {}
    for connection in pairs(connections) do open[#open + 1] = connection end
    for _, connection in ipairs(open) do close(connection) end
  end)
end

local function usual(request) send(request, answer(200, nil, "ok\n")) end

-- ---- Reading ----

--- Takes the first whole request off the buffer; nil: there is none yet.
local function take_request(connection)
  local head_end = select(2, connection.buffer:find("\r\n\r\n", 1, true))
  if not head_end then return nil end
  local head = connection.buffer:sub(1, head_end)
  local method, target, rest = head:match "^(%u+) (%S+) HTTP/1%.1\r\n(.*)\r\n$"
  assert(method, "not a request: " .. head)
  local headers, length = {}, 0
  for line in rest:gmatch "([^\r\n]+)\r\n" do
    local name, value = assert(line:match "^([%w-]+): (.*)$")
    assert(not headers[name], "twice: " .. name)
    headers[name] = value
    if name:lower() == "content-length" then length = assert(math.tointeger(tonumber(value))) end
  end
  if target == "/refuse" then return connection.tcp:close_reset() and nil end
  if #connection.buffer < head_end + length then return nil end
  local body = connection.buffer:sub(head_end + 1, head_end + length)
  connection.buffer = connection.buffer:sub(head_end + length + 1)
  return { method = method, target = target, headers = headers, body = body, connection = connection }
end

local function on_bytes(connection, bytes)
  if connection.closes or connection.tcp:is_closing() then return end
  connection.buffer = connection.buffer .. bytes
  for request in take_request, connection do
    received = received + 1
    connection.waiting[#connection.waiting + 1] = request
    note { method = request.method, target = request.target, headers = request.headers, body = request.body,
      connection = connection.number, waiting = #connection.waiting }
    local way, number = request.target:match "^/([%a-]+)/?(%d*)"
    local answerer = ways[way] or usual
    answerer(request, math.tointeger(tonumber(number)))
    if connection.closes or connection.tcp:is_closing() then return end -- what comes later isn't looked at
  end
end

local function on_connection(err)
  assert(not err, err)
  connection_count = connection_count + 1
  local connection = { tcp = uv.new_tcp(), number = connection_count, buffer = "", waiting = {} }
  listener:accept(connection.tcp)
  if resets then return later(50, function() connection.tcp:close_reset() end) end
  connections[connection] = true
  connection.tcp:nodelay(true)
  connection.tcp:read_start(function(failure, bytes)
    if failure or not bytes then return close(connection) end
    local ok, message = xpcall(on_bytes, debug.traceback, connection, bytes)
    if not ok then
      note { fault = message }
      close(connection)
    end
  end)
end

assert(listener:bind("127.0.0.1", 0))
assert(listener:listen(512, on_connection))
local terminated, broken = uv.new_signal(), uv.new_signal()
terminated:start("sigterm", function() os.exit(0) end)
broken:start("sigpipe", function() end) -- who has gone away doesn't end the server
later(LIFETIME_MS, function() os.exit(1) end)
io.stdout:write(listener:getsockname().port, " ", uv.os_getpid(), "\n")
io.stdout:flush()
uv.run()
