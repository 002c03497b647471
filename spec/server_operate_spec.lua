local cjson = require "cjson"
local http_client = require "spec.support.http_client"
local workspace = require "spec.support.workspace"
local serving = require "spec.support.serving"

-- What those need who run it: health, metrics, the access log, the token.
describe("an operator", function()
  local app = [[
    local app, db = ...
    app:resource("/api/things", db:collection "things")
    app:get("/text", function() return 200, "text" end)
    app:get("/raises", function() error "secret word" end)]]
  after_each(serving.clean)

  local function start(arguments) return serving.start { app = app, arguments = arguments } end

  -- The families of Prometheus' text format: name → type and samples; raises where it is malformed.
  local function families(text)
    local found, family = {}, nil
    assert(text:sub(-1) == "\n", "no line feed at the end")
    for line in text:gmatch "([^\n]*)\n" do
      local keyword, name, rest = line:match "^# (%u+) ([%a_:][%w_:]*) ?(.*)$"
      if keyword == "HELP" then
        assert(not found[name], name .. " comes twice")
        assert(#rest > 0, name .. " has no help")
        family = { name = name, samples = {} }
        found[name] = family
      elseif keyword == "TYPE" then
        assert(family and family.name == name and not family.type, "a TYPE out of place: " .. line)
        assert(("counter gauge histogram summary"):find(rest, 1, true), line)
        family.type = rest
      elseif line ~= "" then
        local sample, labels, value = line:match "^([%a_:][%w_:]*)(%b{}) (%S+)$"
        if not sample then sample, value = line:match "^([%a_:][%w_:]*) (%S+)$" end
        assert(sample and (tonumber(value) or value == "+Inf" or value == "NaN"), "malformed: " .. line)
        assert(family and family.type, "a sample without a family: " .. line)
        local suffix = sample:sub(#family.name + 1)
        assert(sample:sub(1, #family.name) == family.name and (suffix == ""
          or (family.type == "histogram" or family.type == "summary") and ("_bucket _sum _count"):find(suffix, 1, true)), line)
        for label in (labels or "{}"):sub(2, -2):gmatch "[^,]+" do assert(label:find '^[%a_][%w_]*=".*"$', line) end
        local key = sample .. (labels or "")
        assert(not family.samples[key], "a sample comes twice: " .. line)
        family.samples[key] = tonumber(value)
      end
    end
    return found
  end

  local function sum(all, pattern)
    local total = 0
    for name, family in pairs(all) do
      if name:find(pattern) and family.type == "counter" then
        for _, value in pairs(family.samples) do total = total + value end
      end
    end
    return total
  end

  it("asks for health and readiness", function()
    local server = start ""
    for _, path in ipairs { "/health", "/ready" } do
      assert.equal(200, server:ask("GET", path).status)
      assert.equal(200, server:ask("HEAD", path).status)
      assert.equal(204, server:ask("OPTIONS", path).status)
      serving.problem(server:ask("POST", path, nil, "{}"), 405)
    end
  end)

  it("reads metrics", function()
    local server = start ""
    local answer = server:ask("GET", "/metrics")
    assert.matches("^text/plain; version=0%.0%.4", answer.headers["content-type"])
    local before = families(answer.body)
    local count = 0
    for name, family in pairs(before) do
      count = count + 1
      assert.matches("^tidemark_", name)
      assert.is_nil(name:find "_ms$" or name:find "_us$" or name:find "_kb$", name .. " has no base unit")
      if family.type == "counter" then assert.matches("_total$", name) end
      if name:find "duration" or name:find "latency" then assert.matches("_seconds$", name) end
      if family.type == "histogram" then
        local inf = false
        for key in pairs(family.samples) do inf = inf or key:find('le="+Inf"', 1, true) end
        assert.is_true(inf and true or next(family.samples) == nil, name)
      end
    end
    assert.is_true(count >= 10)
    for i = 1, 20 do server:ask("PUT", "/api/things/" .. i, nil, "{}") end
    assert.equal(500, server:ask("GET", "/raises").status)
    local after = families(server:ask("GET", "/metrics").body)
    assert.is_true(sum(after, "requests") - sum(before, "requests") >= 21)
    local documents = false
    for name, family in pairs(after) do
      if name:find "documents" then
        for _, value in pairs(family.samples) do documents = documents or value == 20 end
      end
    end
    assert.is_true(documents, "no metric says that there are 20 documents")
    assert.truthy(server:ask("GET", "/metrics").body:find "_bytes")
  end)

  it("has metrics of which promtool has nothing to say", function()
    local found = workspace.run "PATH=$PWD/build/tools:$PATH command -v promtool"
    if found == "" then
      pending "there is no promtool"
      return
    end
    local server = start ""
    server:ask("GET", "/text")
    server:ask("GET", "/raises")
    local file = workspace.path():gsub("/db$", "/metrics")
    workspace.write(file, server:ask("GET", "/metrics").body)
    local out, err, status = workspace.run(("%s check metrics <%s"):format(found:gsub("%s+$", ""), file))
    assert.same({ "", "", 0 }, { out, err, status })
  end)

  it("reads a common access log", function()
    local server = start "--log common"
    server:ask("GET", "/text?a=1", { 'User-Agent: "quoted"' })
    assert.truthy(server:written("output", '127%.0%.0%.1 %- %- %[%d%d/%a%a%a/%d%d%d%d:%d%d:%d%d:%d%d [+-]%d%d%d%d%] '
      .. '"GET /text%?a=1 HTTP/1%.1" 200 4'), server.output)
    server:ask("GET", "/nobody")
    assert.truthy(server:written("output", '"GET /nobody HTTP/1%.1" 404 %d+'))
    server:ask("DELETE", "/api/things/nobody")
    assert.truthy(server:written("output", '"DELETE /api/things/nobody HTTP/1%.1" 404 %d+'))
    assert.equal(0, server:stop())
    assert.equal(4, select(2, server.output:gsub("\n", "\n"))) -- and the line that says where it listens
  end)

  it("reads an access log in JSON, which no client can forge", function()
    local server = start "--log json"
    server:ask("GET", "/text?a=1", { 'User-Agent: "quoted" \\ agent', 'Referer: "\228"' })
    server:ask("POST", "/api/things", nil, "{}")
    local client = server:connect()
    client:send 'GET /"quoted"\\ HTTP/1.1\r\nHost: x\r\n\r\n'
    client:answer()
    client:close()
    server:ask("GET", "/raises")
    assert.truthy(server:written("output", "/raises"))
    assert.equal(0, server:stop())
    local entries = {}
    for line in server.output:gmatch "([^\n]*)\n" do
      if not line:find "^tidemark:" then entries[#entries + 1] = cjson.decode(line) end
    end
    assert.is_true(#entries == 4 or #entries == 3) -- the quotes may be refused
    assert.same({ "GET", 200 }, { entries[1].method, entries[1].status })
    assert.equal("/text?a=1", entries[1].target or entries[1].path)
    assert.same({ "POST", 201 }, { entries[2].method, entries[2].status })
    assert.same({ "GET", 500 }, { entries[#entries].method, entries[#entries].status })
  end)

  it("reads no access log where none is wanted", function()
    local server = start ""
    server:ask("GET", "/text")
    assert.equal(0, server:stop())
    assert.matches("^tidemark: listening on http://127%.0%.0%.1:%d+\n$", server.output)
  end)

  it("follows an error by its request id", function()
    local server = start "--log json"
    local first, second = server:ask("GET", "/raises"), server:ask("GET", "/raises")
    local id = first.headers["x-request-id"]
    assert.is_true(id ~= nil and #id >= 8)
    assert.not_equal(id, second.headers["x-request-id"])
    local literal = id:gsub("%p", "%%%0")
    assert.truthy(server:written("errors", literal .. ".*secret word"), server.errors)
    assert.truthy(server:written("output", literal), server.output)
    assert.is_nil(first.body:find "secret")
  end)

  it("lets nobody in without the token, but to /health", function()
    local file = workspace.path():gsub("/db$", "/token")
    workspace.write(file, "s3cret-Token~1\n")
    local server = start("--token " .. file)
    assert.equal(200, server:ask("GET", "/health").status)
    local client = server:connect()
    for _, headers in ipairs { {}, { "Authorization: Bearer wrong" }, { "Authorization: Bearer s3cret-Token~" },
      { "Authorization: Bearer s3cret-Token~12" }, { "Authorization: Bearer" }, { "Authorization: Basic s3cret-Token~1" },
      { "Authorization: s3cret-Token~1" }, { "Authorization: Bearer S3CRET-TOKEN~1" },
      { "Authorization: Bearer s3cret-Token~1", "Authorization: Bearer s3cret-Token~1" } } do
      for _, target in ipairs { "/text", "/api/things", "/metrics", "/ready", "/nobody" } do
        local answer = client:ask("GET", target, headers)
        serving.problem(answer, 401)
        assert.matches("^Bearer", answer.headers["www-authenticate"])
      end
      assert.equal(401, client:ask("POST", "/api/things", headers, "{}").status)
    end
    for _, scheme in ipairs { "Bearer", "bearer" } do
      local headers = { ("Authorization: %s s3cret-Token~1"):format(scheme) }
      for target, status in pairs { ["/text"] = 200, ["/api/things"] = 200, ["/metrics"] = 200, ["/nobody"] = 404 } do
        assert.equal(status, client:ask("GET", target, headers).status, target)
      end
    end
    assert.equal(0, #client:ask("GET", "/api/things", { "Authorization: Bearer s3cret-Token~1" }):json().items)
    for _, path in ipairs { "/health/x", "/Health", "//health", "/health/../text" } do
      assert.not_equal(200, server:ask("GET", path).status)
    end
  end)

  it("is told when the token's file is missing or empty", function()
    local script = workspace.path():gsub("/db$", "/app.lua")
    workspace.write(script, app)
    local empty = workspace.path():gsub("/db$", "/token")
    workspace.write(empty, "\n")
    for _, file in ipairs { "/nonexistent/token", empty } do
      local status, errors = serving.run(("%s --db %s --listen 127.0.0.1:0 --token %s"):format(script, workspace.path(), file))
      assert.is_true(status == 2 or status == 3)
      assert.truthy(errors:find(file, 1, true), errors)
    end
  end)

  it("looks into the directory while it serves", function()
    local server = start ""
    assert.equal(201, server:ask("POST", "/api/things", { "Prefer: durability=durable" }, '{"id":"x"}').status)
    assert.is_true(serving.dumped(server.db)["things/x"])
    local out = workspace.command("export " .. server.db .. " things")
    assert.matches('"id":"x"', out)
    assert.matches("in use +true", (workspace.command("info " .. server.db)))
    local _, _, status = workspace.command("verify " .. server.db)
    assert.equal(0, status)
  end)

  it("reads the connections' end in the metrics", function()
    local server = start ""
    local clients = {}
    for i = 1, 5 do
      clients[i] = server:connect()
      clients[i]:ask("GET", "/text")
    end
    local function connections()
      for name, family in pairs(families(server:ask("GET", "/metrics").body)) do
        if name:find "connections" and family.type == "gauge" then
          local total = 0
          for _, value in pairs(family.samples) do total = total + value end
          return total
        end
      end
    end
    local with = connections()
    assert.is_true(with >= 5)
    for _, client in ipairs(clients) do client:close() end
    assert.is_true(http_client.poll(function() return connections() <= with - 5 end))
  end)
end)
