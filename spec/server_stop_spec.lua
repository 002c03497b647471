local http_client = require "spec.support.http_client"
local workspace = require "spec.support.workspace"
local serving = require "spec.support.serving"

-- How it starts and ends: wrong scripts and options, signals, a reload, a kill.
describe("the server", function()
  local app = [[
    local uv = require "luv"
    local app, db = ...
    app:resource("/things", db:collection "things")
    app:get("/version", function() return 200, "one" end)
    app:get("/gate/:n", function(request) -- waits until the file exists that the query names
      local handler, timer = coroutine.running(), uv.new_timer()
      timer:start(5, 5, function()
        if not uv.fs_stat(request.query.file) then return end
        timer:close()
        assert(coroutine.resume(handler))
      end)
      db:collection "started":put { id = request.params.n }
      coroutine.yield()
      return 200, request.params.n
    end)
    app:get("/started", function() return 200, { count = #db:collection "started" } end)]]
  after_each(serving.clean)

  local function script(source)
    local file = workspace.path():gsub("/db$", "/app.lua")
    workspace.write(file, source)
    return file
  end
  local function run(source, arguments)
    return serving.run(("%s --db %s --listen 127.0.0.1:0 %s"):format(script(source), workspace.path(), arguments or ""))
  end
  local function gate_file() return workspace.path():gsub("/db$", "/gate") end
  local function gate(file, n) return http_client.format("GET", ("/gate/%s?file=%s"):format(n or 1, file)) end

  -- A client whose request has begun to wait.
  local function waiting(server, file, n)
    local client, before = server:connect(), server:ask("GET", "/started"):json().count
    client:send(gate(file, n))
    assert.is_true(http_client.poll(function() return server:ask("GET", "/started"):json().count > before end))
    return client
  end

  local function refuses_connections(server)
    return http_client.poll(function()
      local client = http_client.connect(server.port)
      if client then client:close() end
      return not client
    end)
  end

  it("ends with 2 where the script is wrong, naming file and line", function()
    local status, errors, output = run "local app = ...\n\napp:get(\"/\" function() end)"
    assert.equal(2, status)
    assert.matches("app%.lua:3:", errors)
    assert.equal("", output)
    status, errors = run "local app = ...\nerror 'the script broke'"
    assert.equal(2, status)
    assert.matches("app%.lua:2: the script broke", errors)
    status, errors = run "error { code = 1 }"
    assert.equal(2, status)
    assert.matches("^tidemark: ", errors)
    status, errors = run "local app = ...\napp:get('/a', print)\napp:get('/a', print)"
    assert.equal(2, status)
    assert.matches("app%.lua:3:.*/a", errors)
    status = run("local app, db = ...\ndb:collection 'no/slash'", "--threads 3")
    assert.equal(2, status)
  end)

  it("ends with 2 where the options are wrong", function()
    local file, db = script(app), workspace.path()
    for _, arguments in ipairs { "", file, "--db " .. db, file .. " second.lua --db " .. db, file .. " --db",
      ("%s --db %s --unknown 1"):format(file, db), ("%s --db %s --listen nonsense"):format(file, db),
      ("%s --db %s --listen 127.0.0.1:99999"):format(file, db), ("%s --db %s --threads 0"):format(file, db),
      ("%s --db %s --threads x"):format(file, db), ("%s --db %s --batch-size 0"):format(file, db),
      ("%s --db %s --sync sometimes"):format(file, db), ("%s --db %s --log xml"):format(file, db),
      ("%s --db %s --idle-timeout-ms -1"):format(file, db), ("%s --db %s --waiting-max many"):format(file, db) } do
      local status, errors = serving.run(arguments)
      assert.equal(2, status, arguments .. ": " .. errors)
      assert.matches("^tidemark: ", errors)
    end
  end)

  it("tells of wrong options also where the port is in use", function()
    local server = serving.start { app = app }
    local file, db = script(app), workspace.path()
    for option, message in pairs { ["batch-size 0"] = "^tidemark: batch_size: 0 is not between",
      ["sync sometimes"] = "^tidemark: sync: one of", ["retain-days 99999"] = "^tidemark: option retain, days: 99999 is not" } do
      local status, errors = serving.run(("%s --db %s --listen 127.0.0.1:%d --%s"):format(file, db, server.port, option))
      assert.equal(2, status, errors)
      assert.matches(message, errors)
    end
    assert.is_nil(io.open(db .. "/events.raftlog"))
  end)

  it("ends with 3 where it cannot serve", function()
    local server = serving.start { app = app }
    local listen = "--listen 127.0.0.1:" .. server.port
    local status, errors = serving.run(("%s --db %s %s --threads 2"):format(script(app), workspace.path(), listen))
    assert.equal(3, status)
    assert.truthy(errors:find(tostring(server.port), 1, true), errors)
    status, errors = serving.run(("%s --db %s --listen 127.0.0.1:0"):format(script(app), server.db))
    assert.equal(3, status)
    assert.truthy(errors:find(server.db, 1, true), errors)
    assert.equal("one", server:ask("GET", "/version").body)
    status = serving.run(("/nonexistent/app.lua --db %s --listen 127.0.0.1:0"):format(workspace.path()))
    assert.is_true(status == 2 or status == 3)
    assert.equal(3, (serving.run(("%s --db /proc/nonexistent/db --listen 127.0.0.1:0"):format(script(app)))))
  end)

  it("takes options with underscores, equals signs and of open", function()
    local server = serving.start { app = [[
      local app, db = ...
      app:get("/", function() return 200, db:stats() end)]],
      arguments = "--batch_size=500 --flush-interval-ms=20 --pending_bytes_max 1000000 --segment-bytes 2000000 --sync interval "
        .. "--idle_timeout_ms=5000 --grace-s 3" }
    assert.equal(200, server:ask("GET", "/").status)
    assert.equal(0, server:stop())
  end)

  for _, signal in ipairs { "sigterm", "sigint" } do
    it("at " .. signal .. " answers what was received, takes no more, and ends with 0", function()
      local server = serving.start { app = app, threads = 2 }
      local file = gate_file()
      local idle, fresh = server:connect(), server:connect()
      assert.equal("one", idle:ask("GET", "/version").body)
      local first = waiting(server, file, 1)
      local second = waiting(server, file, 2)
      second:send(http_client.format("PUT", "/things/pipelined", nil, "{}")):flush()
      http_client.sleep(100)
      assert.equal(201, server:ask("POST", "/things", nil, '{"id":"accepted"}').status)
      server:signal(signal)
      assert.is_true(refuses_connections(server))
      assert.equal("", idle:remains())
      assert.equal("", fresh:remains())
      assert.is_nil(server.code)
      workspace.write(file, "")
      local answer = assert(first:answer())
      assert.same({ "1", "close" }, { answer.body, (answer.headers.connection or ""):lower() })
      assert.equal("2", assert(second:answer()).body)
      assert.equal(201, assert(second:answer()).status)
      assert.equal("", first:remains())
      assert.equal("", second:remains())
      assert.equal(0, server:wait())
      local ids = serving.dumped(server.db)
      assert.is_true(ids["things/accepted"] and ids["things/pipelined"])
      local _, _, status = workspace.command("verify " .. server.db)
      assert.equal(0, status)
    end)
  end

  it("waits for what does not end no longer than --grace-s", function()
    local server = serving.start { app = app, arguments = "--grace-s 1" }
    local client = waiting(server, gate_file(), 1)
    local half = server:connect()
    half:send "POST /things HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"
    assert.equal(201, server:ask("POST", "/things", nil, '{"id":"x"}').status)
    assert.equal(0, server:stop())
    assert.is_string(client:remains())
    assert.is_string(half:remains())
    assert.is_true(serving.dumped(server.db)["things/x"])
  end)

  it("ends at once with 1 at a second signal", function()
    local server = serving.start { app = app, arguments = "--grace-s 600" }
    waiting(server, gate_file(), 1)
    server:signal "sigterm"
    assert.is_true(refuses_connections(server))
    assert.is_nil(server.code)
    assert.equal(1, server:stop "sigint")
  end)

  it("ends also while a handler is in a loop", function()
    if not serving.can_interrupt then return end
    local server = serving.start { app = [[local app = ...; app:get("/", function() while true do end end)]],
      arguments = "--handler-timeout-ms 500" }
    local client = server:connect()
    client:send(http_client.format("GET", "/")):flush()
    http_client.sleep(50)
    server:signal "sigterm"
    assert.equal(503, assert(client:answer()).status)
    assert.equal(0, server:wait())
  end)

  -- Clients that put documents one after the other until the server is gone; the ids that were answered 201.
  local function load(server, headers, count, enough)
    local answered, alive, total = {}, count, 0
    local clients = {}
    for i = 1, count do clients[i] = { socket = server:connect(), n = 0, id = i } end
    local function send(one)
      one.n = one.n + 1
      one.name = ("c%d-%d"):format(one.id, one.n)
      one.socket:send(http_client.format("PUT", "/things/" .. one.name, headers, '{"pad":"' .. ("p"):rep(200) .. '"}'))
    end
    for _, one in ipairs(clients) do send(one) end
    local signalled = false
    while alive > 0 do
      alive = 0
      for _, one in ipairs(clients) do
        if not one.over then
          local answer = one.socket:answer()
          if answer then
            assert.equal(201, answer.status)
            answered[#answered + 1] = one.name
            total = total + 1
            if answer.headers.connection == "close" then one.over = true else send(one) end
          else
            one.over = true
          end
          if not one.over then alive = alive + 1 end
        end
      end
      if total >= 200 and not signalled then
        signalled = true
        enough()
      end
    end
    return answered
  end

  it("loses nothing that was answered 201 when it is told to end under load", function()
    local server = serving.start { app = app, threads = 2 }
    local answered = load(server, nil, 8, function() server:signal "sigterm" end)
    assert.equal(0, server:wait())
    local ids = serving.dumped(server.db)
    assert.is_true(#answered >= 200)
    for _, name in ipairs(answered) do assert.is_true(ids["things/" .. name], name) end
  end)

  it("loses nothing that was answered as durable when it is killed under load", function()
    local server = serving.start { app = app, threads = 2 }
    local answered = load(server, { "Prefer: durability=durable" }, 8, function() server:signal "sigkill" end)
    assert.equal(128 + 9, server:wait())
    local ids = serving.dumped(server.db)
    assert.is_true(#answered >= 200)
    for _, name in ipairs(answered) do assert.is_true(ids["things/" .. name], name) end
    local again = serving.start { app = app, db = server.db } -- and it serves again
    assert.equal(200, again:ask("GET", "/things/" .. answered[#answered]).status)
    assert.equal(0, again:stop())
  end)

  it("takes a new script at SIGHUP, and keeps the old one where the new one is broken", function()
    local server = serving.start { app = app, threads = 2 }
    local file = gate_file()
    local kept, old = server:connect(), waiting(server, file, "old")
    assert.equal("one", kept:ask("GET", "/version").body)
    local function becomes(body)
      return http_client.poll(function()
        for _ = 1, 10 do -- in every thread
          if server:ask("GET", "/version").body ~= body then return false end
        end
        return kept:ask("GET", "/version").body == body
      end)
    end
    workspace.write(server.file, (app:gsub('"one"', '"two"'):gsub("/started", "/begun")))
    server:signal "sighup"
    assert.is_true(becomes "two")
    assert.equal(404, server:ask("GET", "/started").status)
    assert.equal(200, server:ask("GET", "/begun").status)
    assert.equal(201, server:ask("POST", "/things", nil, '{"id":"x"}').status)
    for _, broken in ipairs { "local app = ...\nlocal = 1", "local app = ...\nerror 'broken'" } do
      local errors = #server.errors
      workspace.write(server.file, broken)
      server:signal "sighup"
      assert.is_true(http_client.wait(function() return server.errors:find("app.lua:2:", errors + 1, true) ~= nil end))
      assert.equal("two", server:ask("GET", "/version").body)
      assert.equal("two", kept:ask("GET", "/version").body)
    end
    workspace.write(server.file, (app:gsub('"one"', '"three"')))
    server:signal "sighup"
    assert.is_true(becomes "three")
    workspace.write(file, "") -- the request that began in the first script ends in it
    assert.equal("old", assert(old:answer()).body)
    for _ = 1, 20 do server:signal "sighup" end
    assert.is_true(becomes "three")
    assert.equal(0, server:stop())
  end)
end)
