local http_client = require "spec.support.http_client"
local workspace = require "spec.support.workspace"
local serving = require "spec.support.serving"

-- What clients see of a slow and of a full disk (spec/support/slow_disk.c, preloaded into the server).
describe("the server on a bad disk", function()
  after_each(serving.clean)

  local app = [[
    local app, db = ...
    app:resource("/things", db:collection "things")
    app:get("/quick", function() return 200, "quick" end)
    app:get("/syncs", function() return 200, { syncs = db:stats().syncs } end)
    app:post("/handler", function()
      local id, message, code, version = db:collection "things":create({ own = true }, { durability = "durable" })
      return 200, { id = id, message = message, code = code, version = version }
    end)]]
  local durable = { "Prefer: durability=durable" }

  local function start(settings, arguments, source)
    settings.LD_PRELOAD = ("%s %s/spec/slow_disk.so"):format(os.getenv "TIDEMARK_PRELOAD" or "", workspace.build)
    return serving.start { app = source or app, arguments = arguments, environment = settings }
  end
  local function document(id, size) return ('{"id":"%s","pad":"%s"}'):format(id, ("p"):rep(size)) end

  it("serves others while a request waits for the disk", function()
    local server = start { SLOW_DISK_MS = "1500" }
    for _, request in ipairs { http_client.format("POST", "/things", durable, '{"id":"slow"}'),
      http_client.format("POST", "/handler") } do
      local slow, other = server:connect(), server:connect()
      slow:send(request):flush()
      assert.equal("quick", other:ask("GET", "/quick").body)
      assert.equal(201, other:ask("PUT", "/things/other-" .. #request, nil, "{}").status)
      assert.is_nil((slow:answer(nil, 1))) -- it still waits
      assert.is_true(assert(slow:answer()).status <= 201)
    end
    assert.equal(200, server:ask("GET", "/things/slow").status)
  end)

  -- A server of one thread whose handlers do what takes long, while the disk stands still.
  local function held(calls)
    local hold = workspace.path():gsub("/db$", "/hold")
    local server = start({ SLOW_DISK_HOLD = hold }, "", [[
      local app, db = ...
      local uv = require "luv"
      local things = db:collection "things"
      app:get("/count", function() return 200, { count = #things } end)
      app:post("/things", function() return 201, { version = select(2, things:create {}) } end)
      app:post("/snapshot", function() return 200, { seq = db:snapshot() } end)
      app:post("/backup", function() return 200, db:backup("]] .. workspace.path() .. [[") end)
      app:post("/compact", function() return 200, db:compact { events_per_document = 1 } end)
      app:post("/refused", function()
        local result, message, code = db:backup("/proc/nonexistent/backup")
        return 200, { result = tostring(result), message = message, code = code }
      end)
      app:post("/protected", function()
        local ok, seq = pcall(function() return db:snapshot() end)
        return 200, { ok = ok, seq = seq }
      end)
      local handler
      app:post("/early", function()
        handler = coroutine.running()
        return 200, { seq = db:snapshot() }
      end)
      app:post("/resume", function() return 200, { coroutine.resume(handler, "too", "early") } end)
      app:post("/close", function() return 200, { coroutine.close(handler) } end)]])
    for _ = 1, 3 do server:ask("POST", "/things") end
    workspace.write(hold, "")
    local clients = {}
    for i, path in ipairs(calls) do
      server:ask("POST", "/things")
      clients[i] = server:connect()
      clients[i]:send(http_client.format("POST", path)):flush()
    end
    assert.equal(3 + #calls, server:ask("GET", "/count"):json().count)
    for _, client in ipairs(clients) do assert.is_nil((client:answer(nil, 1))) end
    return server, clients, function() os.remove(hold) end
  end

  it("serves others while handlers make a snapshot, a backup, a compaction", function()
    local server, clients, release = held { "/snapshot", "/backup", "/compact", "/protected" }
    release()
    local answers = {}
    for i, client in ipairs(clients) do answers[i] = assert(client:answer()):json() end
    assert.is_true(answers[1].seq >= 4)
    assert.is_true(answers[2].seq >= 5 and answers[2].files_copied >= 1)
    assert.is_true(answers[3].segments >= 1)
    assert.is_true(answers[4].ok and answers[4].seq >= 7)
    local refused = server:ask("POST", "/refused"):json()
    assert.same({ "nil", "io" }, { refused.result, refused.code })
    assert.matches("/proc/nonexistent", refused.message)
    assert.equal(0, server:stop())
  end)

  it("a handler that is resumed before its snapshot is made goes on waiting", function()
    local server, clients, release = held { "/early" }
    for _ = 1, 3 do assert.same({ true }, server:ask("POST", "/resume"):json()) end
    assert.is_nil((clients[1]:answer(nil, 1)))
    release()
    assert.is_true(assert(clients[1]:answer()):json().seq >= 4)
    assert.equal(0, server:stop())
  end)

  it("a handler that is closed while its snapshot is made is answered 500", function()
    local server, clients, release = held { "/early" }
    assert.same({ true }, server:ask("POST", "/close"):json())
    assert.equal(4, server:ask("GET", "/count"):json().count)
    release()
    assert.equal(500, assert(clients[1]:answer()).status)
    assert.is_true(server:ask("POST", "/snapshot"):json().seq >= 4)
    assert.equal(0, server:stop())
  end)

  it("a script that is replaced while its snapshot is made answers all the same", function()
    local server, clients, release = held { "/snapshot" }
    server:signal "sighup"
    assert.is_true(http_client.wait(function() return server.errors:find("reloaded", 1, true) ~= nil end))
    release()
    assert.is_true(assert(clients[1]:answer()):json().seq >= 4)
    assert.is_true(server:ask("POST", "/snapshot"):json().seq >= 4)
    assert.equal(0, server:stop())
  end)

  it("ends, and loses nothing, while a client has gone whose backup is being made", function()
    local server, clients, release = held { "/backup" }
    clients[1]:close()
    server:signal "sigterm"
    http_client.sleep(100)
    release()
    assert.equal(0, server:wait())
    local _, _, status = workspace.command("verify " .. server.db)
    assert.equal(0, status)
  end)

  it("shares a sync among all who wait", function()
    local server = start { SLOW_DISK_MS = "100" }
    local before, clients = server:ask("GET", "/syncs"):json().syncs, {}
    for i = 1, 60 do clients[i] = server:connect() end
    for i, client in ipairs(clients) do
      client:send(http_client.format("PUT", "/things/" .. i, durable, "{}"))
    end
    for _, client in ipairs(clients) do assert.equal(201, assert(client:answer()).status) end
    assert.is_true(server:ask("GET", "/syncs"):json().syncs - before < 30)
  end)

  it("that is too slow: 504 with the version, and the write stays accepted", function()
    local server = start({ SLOW_DISK_MS = "1000" }, "--timeout-ms 50")
    local problem = serving.problem(server:ask("POST", "/things", durable, '{"id":"late"}'), 504, "timeout")
    assert.is_number(problem.version)
    local answer = server:ask("GET", "/things/late")
    assert.same({ 200, math.tointeger(problem.version) }, { answer.status, answer:version_tag() })
    serving.problem(server:ask("PATCH", "/things/late", durable, '{"n":1}'), 504, "timeout")
    serving.problem(server:ask("DELETE", "/things/late", durable), 504, "timeout")
    assert.equal(404, server:ask("GET", "/things/late").status)
    local told = server:ask("POST", "/handler"):json()
    assert.same({ "timeout", "number" }, { told.code, type(told.version) })
  end)

  it("with the channel full: 503 busy, not ready; and ready again", function()
    local server = start({ SLOW_DISK_MS = "1000" }, "--pending-bytes-max 65536 --timeout-ms 20")
    assert.equal(200, server:ask("GET", "/ready").status)
    local busy, ready
    for i = 1, 2000 do
      local answer = server:ask("POST", "/things", nil, document(i, 2000))
      if answer.status ~= 201 then
        busy, ready = answer, server:ask("GET", "/ready")
        break
      end
    end
    serving.problem(busy, 503, "busy")
    assert.is_string(busy.headers["retry-after"])
    assert.equal(503, ready.status)
    assert.is_true(#ready.body > 0)
    assert.equal(200, server:ask("GET", "/health").status)
    assert.is_true(http_client.poll(function() return server:ask("GET", "/ready").status == 200 end))
    assert.equal(0, server:stop())
  end)

  it("with the channel full lets writers without a timeout wait, and the loop goes on", function()
    local server = start({ SLOW_DISK_MS = "300" }, "--pending-bytes-max 65536")
    local clients = {}
    for i = 1, 100 do
      clients[i] = server:connect()
      clients[i]:send(http_client.format("POST", "/things", nil, document(i, 4000)))
    end
    assert.equal("quick", server:ask("GET", "/quick").body)
    for _, client in ipairs(clients) do assert.equal(201, assert(client:answer()).status) end
    assert.equal(0, server:stop())
  end)

  it("that is full: 507, then 503; reads go on; it is not ready, and lives", function()
    local server = start { SLOW_DISK_BYTES = "10000" }
    assert.equal(201, server:ask("POST", "/things", durable, '{"id":"safe"}').status)
    serving.problem(server:ask("POST", "/things", durable, document("large", 20000)), 507, "full")
    for method, target in pairs { POST = "/things", PUT = "/things/x", PATCH = "/things/safe" } do
      serving.problem(server:ask(method, target, nil, '{"n":1}'), 503, "failed")
    end
    serving.problem(server:ask("DELETE", "/things/safe"), 503, "failed")
    assert.equal("safe", server:ask("GET", "/things/safe"):json().id)
    assert.equal(200, server:ask("GET", "/things").status)
    local ready = server:ask("GET", "/ready")
    assert.equal(503, ready.status)
    assert.is_true(#ready.body > 0)
    assert.equal(200, server:ask("GET", "/health").status)
    server:stop()
    assert.is_true(serving.dumped(server.db)["things/safe"])
  end)
end)
