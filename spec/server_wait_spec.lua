local http_client = require "spec.support.http_client"
local serving = require "spec.support.serving"

-- Handlers that wait, for luv or for the engine, and handlers that do not come back.
describe("a handler that waits", function()
  local server

  setup(function()
    server = serving.start { arguments = "--handler-timeout-ms 400", app = [[
      local uv = require "luv"
      local app, db = ...
      local waiting = {}
      app:get("/wait/:name", function(request)
        waiting[request.params.name] = coroutine.running()
        local given = coroutine.yield()
        if given == "raise" then error "after the wait" end
        return 200, { given = given, name = request.params.name }
      end)
      app:get("/wake/:name/:given", function(request)
        local handler = waiting[request.params.name]
        if not handler then return 404 end
        waiting[request.params.name] = nil
        local ok, message = coroutine.resume(handler, request.params.given)
        return 200, { ok = ok, message = tostring(message) }
      end)
      local function sleep(ms)
        local handler, timer = coroutine.running(), uv.new_timer()
        timer:start(ms, 0, function()
          timer:close()
          assert(coroutine.resume(handler))
        end)
        coroutine.yield()
      end
      app:get("/sleep/:ms", function(request)
        sleep(math.tointeger(request.params.ms))
        return 200, request.params.ms
      end)
      app:get("/twice", function()
        sleep(5)
        assert(db:collection "c":create({}, { durability = "durable" }))
        sleep(5)
        return 200, "twice"
      end)
      app:get("/thread-pool", function()
        local handler = coroutine.running()
        uv.fs_stat(".", function(err, stat) assert(coroutine.resume(handler, err, stat)) end)
        local err, stat = coroutine.yield()
        return 200, { err = err, type = stat.type }
      end)
      app:get("/generator", function()
        local list = {}
        for n in coroutine.wrap(function() for i = 1, 3 do coroutine.yield(i) end end) do list[#list + 1] = n end
        return 200, list
      end)
      app:get("/engine", function()
        local c = db:collection "c"
        local id, version = assert(c:create({ n = 1 }, { durability = "durable" }))
        version = assert(c:put({ id = id, n = 2 }, { durability = "durable", if_version = version }))
        version = assert(c:update(id, { n = 3 }, { durability = "durable", if_version = version }))
        assert(db:wait(version))
        assert(db:watermarks().durable >= version)
        version = assert(c:delete(id, { durability = "durable" }))
        assert(db:flush() >= version)
        local none, message, code = c:update(id, {}, { durability = "durable" })
        return 200, { none = none == nil, message = message, code = code }
      end)
      app:get("/pcall", function()
        local ok, id = pcall(function() return assert(db:collection "c":create({}, { durability = "durable" })) end)
        return 200, { ok = ok, id = id }
      end)
      app:get("/inner", function()
        local created = coroutine.wrap(function()
          return (assert(db:collection "c":create({ inner = true }, { durability = "durable" })))
        end)()
        return 200, { id = created }
      end)
      local loops = {
        plain = function() while true do end end,
        catching = function() while true do pcall(function() while true do end end) end end,
        inner = function() coroutine.wrap(function() while true do end end)() end,
        after = function() sleep(5) while true do end end,
        closing = function() local t <close> = setmetatable({}, { __close = function() while true do end end }) end,
        calls = function() local function f() return f() end return f() end,
        meta = function() return setmetatable({}, { __index = function(t, k) while true do end end }).x end,
      }
      for name, loop in pairs(loops) do app:get("/loop/" .. name, loop) end
      app:get("/quick", function() return 200, "quick" end)
    ]] }
  end)
  teardown(serving.clean)

  it("lets others be served, and is resumed by them", function()
    local first, second = server:connect(), server:connect()
    first:send(http_client.format("GET", "/wait/a"))
    second:send(http_client.format("GET", "/wait/b"))
    for _, name in ipairs { "b", "a" } do -- as soon as it has begun to wait
      assert.is_true(http_client.poll(function() return server:ask("GET", ("/wake/%s/x"):format(name)).status == 200 end))
    end
    assert.same({ given = "x", name = "b" }, assert(second:answer()):json())
    assert.same({ given = "x", name = "a" }, assert(first:answer()):json())
  end)

  it("and then raises is an internal error", function()
    local client = server:connect()
    client:send(http_client.format("GET", "/wait/c"))
    assert.is_true(http_client.poll(function() return server:ask("GET", "/wake/c/raise").status == 200 end))
    serving.problem(assert(client:answer()), 500)
    assert.truthy(server:written("errors", "after the wait"))
    assert.equal("quick", server:ask("GET", "/quick").body)
  end)

  it("does so in as many requests as there are, each on its own", function()
    local clients = {}
    for i = 1, 100 do
      clients[i] = server:connect()
      clients[i]:send(http_client.format("GET", "/sleep/" .. (100 + i % 50)))
    end
    for i, client in ipairs(clients) do assert.equal(tostring(100 + i % 50), assert(client:answer()).body) end
  end)

  it("may wait longer than it may run", function()
    assert.equal("1500", server:ask("GET", "/sleep/1500").body)
  end)

  it("waits for timers, files and the disk", function()
    assert.equal("twice", server:ask("GET", "/twice").body)
    assert.equal("directory", server:ask("GET", "/thread-pool"):json().type)
    assert.same({ 1, 2, 3 }, server:ask("GET", "/generator"):json())
    local told = server:ask("GET", "/engine"):json()
    assert.same({ true, "not_found" }, { told.none, told.code })
    assert.is_true(#told.message > 0)
    told = server:ask("GET", "/pcall"):json()
    assert.is_true(told.ok, tostring(told.id))
    assert.equal(36, #told.id)
  end)

  it("may call what waits in a coroutine of its own", function()
    assert.equal(36, #server:ask("GET", "/inner"):json().id)
  end)

  it("and whose client has gone ends quietly", function()
    local client = server:connect()
    client:send(http_client.format("GET", "/wait/gone"))
    assert.is_true(http_client.poll(function()
      client:abort()
      return server:ask("GET", "/wake/gone/x").status == 200
    end, 2000) or true)
    assert.equal("quick", server:ask("GET", "/quick").body)
  end)

  if not serving.can_interrupt then return end
  for _, name in ipairs { "plain", "catching", "inner", "after", "closing", "calls", "meta" } do
    it("for ever in a loop (" .. name .. ") is ended with 503, and the next client is served", function()
      local client, other = server:connect(), server:connect()
      client:send(http_client.format("GET", "/loop/" .. name)):flush()
      http_client.sleep(20)
      other:send(http_client.format("GET", "/quick"))
      serving.problem(assert(client:answer()), 503)
      assert.equal("quick", assert(other:answer()).body)
      assert.equal("quick", server:ask("GET", "/quick").body)
    end)
  end

  it("in the log is told with its request's id", function()
    local answer = server:ask("GET", "/loop/plain")
    assert.is_string(answer.headers["x-request-id"])
    assert.truthy(server:written("errors", answer.headers["x-request-id"]:gsub("%p", "%%%0")))
  end)
end)
