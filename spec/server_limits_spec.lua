local http_client = require "spec.support.http_client"
local workspace = require "spec.support.workspace"
local serving = require "spec.support.serving"

-- The limits, each with a small value: what is refused at it, and what just fits.
describe("limits", function()
  local app = [[
    local uv = require "luv"
    local app = ...
    local started = 0
    -- Waits until the file exists that the query names.
    app:get("/gate/:n", function(request)
      started = started + 1
      local handler, timer = coroutine.running(), uv.new_timer()
      timer:start(5, 5, function()
        if not uv.fs_stat(request.query.file) then return end
        timer:close()
        assert(coroutine.resume(handler))
      end)
      coroutine.yield()
      return 200, request.params.n
    end)
    app:get("/started", function() return 200, { count = started } end)
    app:get("/number/:n", function(request) return 200, request.params.n end)
    app:post("/length", function(request) return 200, { length = #request.body } end)
    app:get("/*rest", function(request) return 200, { length = #request.target } end)]]

  local function start(arguments) return serving.start { app = app, arguments = arguments } end
  local function gate_file() return workspace.path():gsub("/db$", "/gate") end
  local function gate(file, n) return ("GET /gate/%s?file=%s HTTP/1.1\r\nHost: x\r\n\r\n"):format(n or 1, file) end

  local function refused(client, status)
    local answer = assert(client:answer())
    serving.problem(answer, status)
    assert.equal("close", answer.headers.connection:lower())
    assert.equal("", client:remains())
  end

  after_each(serving.clean)

  it("a head: 431", function()
    local server = start "--head-bytes-max 2048"
    assert.equal(200, server:ask("GET", "/number/1", { "X-Pad: " .. ("p"):rep(1900) }).status)
    local client = server:connect()
    client:send(http_client.format("GET", "/number/1", { "X-Pad: " .. ("p"):rep(2048) }))
    refused(client, 431)
    client = server:connect() -- it need not end to be too long
    client:send_pieces("GET /number/1 HTTP/1.1\r\nHost: x\r\n" .. ("X-Pad: y\r\n"):rep(300), 100, 0)
    refused(client, 431)
    client = server:connect()
    client:send("GET /number/1 HTTP/1.1\r\nHost: x\r\nX-" .. ("n"):rep(5000))
    refused(client, 431)
    client = server:connect()
    client:send("POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n"
      .. ("X-Pad: y\r\n"):rep(1000) .. "\r\n")
    assert.equal(431, assert(client:answer()).status)
  end)

  it("a head, by default 16 KiB and 100 fields", function()
    local server = start ""
    assert.equal(200, server:ask("GET", "/number/1", { "X-Pad: " .. ("p"):rep(16000) }).status)
    assert.equal(431, server:ask("GET", "/number/1", { "X-Pad: " .. ("p"):rep(16400) }).status)
    local fields = {}
    for i = 1, 99 do fields[i] = "X-" .. i .. ": y" end
    assert.equal(200, server:ask("GET", "/number/1", fields).status)
    fields[100] = "X-100: y"
    assert.equal(431, server:ask("GET", "/number/1", fields).status)
    assert.equal(8192, server:ask("GET", "/" .. ("t"):rep(8191)):json().length)
    assert.equal(414, server:ask("GET", "/" .. ("t"):rep(8192)).status)
  end)

  it("fields: 431", function()
    local server = start "--fields-max 10"
    local fields = {}
    for i = 1, 9 do fields[i] = "X-" .. i .. ": y" end
    assert.equal(200, server:ask("GET", "/number/1", fields).status) -- with Host they are ten
    fields[10] = "X-1: y"
    local client = server:connect()
    client:send(http_client.format("GET", "/number/1", fields))
    refused(client, 431)
  end)

  it("a target: 414", function()
    local server = start "--target-bytes-max 100"
    assert.equal(100, server:ask("GET", "/" .. ("t"):rep(99)):json().length)
    for _, target in ipairs { "/" .. ("t"):rep(100), "/?" .. ("q"):rep(5000) } do
      local client = server:connect()
      client:send(http_client.format("GET", target))
      refused(client, 414)
    end
  end)

  it("a body: 413, before it is read", function()
    local server = start "--document-bytes-max 1000"
    assert.equal(1000, server:ask("POST", "/length", nil, ("x"):rep(1000)):json().length)
    local client = server:connect() -- nothing of the body is sent
    client:send "POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n"
    refused(client, 413)
    client = server:connect()
    client:send "POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 9223372036854775807\r\nExpect: 100-continue\r\n\r\n"
    local answer = assert(client:answer())
    serving.problem(answer, 413)
    assert.equal(0, answer.interim)
    client = server:connect()
    client:send("POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" .. ("64\r\n" .. ("x"):rep(100)
      .. "\r\n"):rep(10) .. "1\r\n")
    refused(client, 413)
    client = server:connect()
    client:send "POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n"
    refused(client, 413)
    client = server:connect()
    client:send("POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n" .. ("x"):rep(3000000))
    assert.equal(413, assert(client:answer()).status) -- seen also by one who is still sending
  end)

  it("the time of a head: 408", function()
    local server = start "--head-timeout-ms 300"
    local client = server:connect()
    client:send "GET /number/1 HTTP/1.1\r\nHost: x\r\n"
    refused(client, 408)
    client = server:connect() -- bytes that trickle in don't extend it
    client:send_pieces("GET /number/1 HTTP/1.1\r\n" .. ("X-A: b\r\n"):rep(40), 1, 10)
    refused(client, 408)
    client = server:connect()
    assert.equal("1", client:ask("GET", "/number/1").body)
    client:send "GET /number/2 HTTP"
    refused(client, 408)
  end)

  it("the time that a body stands still: 408", function()
    local server = start "--body-timeout-ms 700 --head-timeout-ms 700"
    local client = server:connect()
    client:send "POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhello"
    refused(client, 408)
    client = server:connect()
    client:send "POST /length HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"
    refused(client, 408)
    client = server:connect() -- one that moves may take longer
    client:send "POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 30\r\n\r\n"
    client:send_pieces(("x"):rep(30), 1, 50)
    assert.equal(30, assert(client:answer()):json().length)
  end)

  it("the time that a connection is idle: it is closed", function()
    local server = start "--idle-timeout-ms 300"
    local client = server:connect()
    assert.equal("1", client:ask("GET", "/number/1").body)
    assert.equal("", client:remains())
    assert.equal("", server:connect():remains())
    local file = gate_file()
    client = server:connect() -- one whose request is waiting is not idle
    client:send(gate(file)):flush()
    http_client.sleep(900)
    workspace.write(file, "")
    assert.equal("1", assert(client:answer()).body)
  end)

  it("requests under way on a connection: it is not read from", function()
    local server = start "--pipeline-max 4"
    local file, client, lines = gate_file(), server:connect(), {}
    for i = 1, 50 do lines[i] = gate(file, i) end
    client:send(table.concat(lines))
    assert.is_true(http_client.poll(function() return server:ask("GET", "/started"):json().count >= 1 end))
    http_client.sleep(100)
    assert.is_true(server:ask("GET", "/started"):json().count <= 4)
    workspace.write(file, "")
    for i = 1, 50 do assert.equal(tostring(i), assert(client:answer()).body) end
  end)

  it("requests waiting: 503", function()
    local server = start "--waiting-max 3"
    local file, clients = gate_file(), {}
    for i = 1, 3 do
      clients[i] = server:connect()
      clients[i]:send(gate(file, i)):flush()
    end
    local extra
    local answer = http_client.poll(function() -- until the three have begun
      extra = server:connect()
      extra:send(gate(file, "extra"))
      local found = extra:answer(nil, 300)
      return found and found.status == 503 and found
    end)
    serving.problem(answer, 503)
    assert.is_string(answer.headers["retry-after"])
    workspace.write(file, "")
    for i = 1, 3 do
      local status = assert(clients[i]:answer()).status
      assert.is_true(status == 200 or status == 503)
    end
    assert.equal("1", http_client.poll(function()
      local after = server:ask("GET", "/gate/1?file=" .. file)
      return after.status == 200 and after.body
    end))
  end)

  it("connections: no more are served, until one ends", function()
    local server = start "--connections-max 3"
    local clients = {}
    for i = 1, 3 do
      clients[i] = server:connect()
      assert.equal("1", clients[i]:ask("GET", "/number/1").body)
    end
    local extra = http_client.connect(server.port)
    if extra then
      extra:send(http_client.format("GET", "/number/2"))
      local answer = extra:answer(nil, 300)
      if answer then assert.equal(503, answer.status) end
      extra:close()
    end
    for i = 1, 3 do assert.equal("3", clients[i]:ask("GET", "/number/3").body) end
    clients[1]:close()
    assert.equal("4", http_client.poll(function()
      local client = http_client.connect(server.port)
      if not client then return nil end
      client:send(http_client.format("GET", "/number/4"))
      local answer = client:answer(nil, 500)
      client:close()
      return answer and answer.status == 200 and answer.body
    end))
  end)

  it("hundreds of connections are served", function()
    local server, clients = start "--threads 2", {}
    for i = 1, 400 do clients[i] = server:connect() end
    for i, client in ipairs(clients) do client:send(http_client.format("GET", "/number/" .. i)) end
    for i, client in ipairs(clients) do assert.equal(tostring(i), assert(client:answer()).body) end
  end)

  it("a client that reads nothing stops being read from, and others are served", function()
    local server = start ""
    local idle = server:connect()
    idle.socket:read_stop()
    for _ = 1, 200 do idle:send(("GET /number/%s HTTP/1.1\r\nHost: x\r\n\r\n"):format(("9"):rep(4000)):rep(20)) end
    http_client.sleep(200)
    assert.equal("1", server:ask("GET", "/number/1").body)
    assert.is_true(idle.sent > 0)
  end)
end)
