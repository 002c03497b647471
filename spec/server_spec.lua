local workspace = require "spec.support.workspace"
local serving = require "spec.support.serving"

-- What a handler is given, and what becomes of what it returns.
describe("a handler", function()
  local server

  setup(function()
    server = serving.start { app = [[
      local tidemark = require "tidemark"
      local app, db = ...
      local returns = {
        none = function() end,
        ["nil"] = function() return nil end,
        status = function() return 202 end,
        missing = function() return 404 end,
        text = function() return 200, "grüße" end,
        empty = function() return 200, "" end,
        html = function() return 200, "<p>hi</p>", { ["Content-Type"] = "text/html; charset=utf-8" } end,
        lower = function() return 200, "<p>hi</p>", { ["content-type"] = "text/html" } end,
        table = function() return 200, { a = 1, float = 1.5, big = 9007199254740993, null = tidemark.null,
          list = tidemark.empty_array, object = {}, text = "ü" } end,
        array = function() return 200, { 1, 2, 3 } end,
        typed = function() return 200, { a = 1 }, { ["Content-Type"] = "application/vnd.api+json" } end,
        headers = function() return 303, nil, { Location = "/text", ["X-Number"] = 5, ["X-Empty"] = "" } end,
        teapot = function() return 418, "short and stout" end,
        last = function() return 599, "last" end,
        large = function() return 200, ("x"):rep(3000000) end,
        binary = function() return 200, "a\0b\r\n\r\nHTTP/1.1 200 OK\255", { ["Content-Type"] = "application/octet-stream" } end,
        length = function() return 200, "twelve bytes", { ["Content-Length"] = "3" } end,
        coding = function() return 200, "twelve bytes", { ["Transfer-Encoding"] = "chunked" } end,
        nocontent = function() return 204, "what must not be sent" end,
      }
      for name, handler in pairs(returns) do app:get("/returns/" .. name, handler) end
      local cycle = {}
      cycle.cycle = cycle
      local wrong = {
        low = function() return 99 end,
        high = function() return 600 end,
        negative = function() return -200 end,
        fraction = function() return 200.5 end,
        status = function() return {} end,
        text = function() return "hello" end,
        boolean = function() return true end,
        body = function() return 200, function() end end,
        cycle = function() return 200, cycle end,
        inf = function() return 200, { n = 1 / 0 } end,
        nested = function() return 200, { f = print } end,
        headers = function() return 200, "x", "Content-Type: text/plain" end,
        value = function() return 200, "x", { ["X-Split"] = "a\r\nX-Injected: yes" } end,
        bare = function() return 200, "x", { ["X-Split"] = "a\nX-Injected: yes" } end,
        name = function() return 200, "x", { ["X-A\r\nX-Injected"] = "yes" } end,
        space = function() return 200, "x", { ["X A"] = "yes" } end,
        table = function() return 200, "x", { ["X-A"] = { {} } } end,
      }
      for name, handler in pairs(wrong) do app:get("/wrong/" .. name, handler) end
      local raises = {
        text = function() error "secret word" end,
        table = function() error { secret = "word" } end,
        ["nil"] = function() error(nil) end,
        object = function() error(setmetatable({}, { __tostring = function() error "secret word" end })) end,
        index = function() local secret; return secret.word end,
        overflow = function() local function f() return 1 + f() end; return f() end,
        memory = function() return 200, ("x"):rep(1 << 50) end,
        exit = function() os.exit(7) end,
        exit_closing = function() os.exit(true, true) end,
        coroutine = function() return 200, coroutine.wrap(function() error "secret word" end)() end,
        closing = function() local t <close> = setmetatable({}, { __close = function() error "secret word" end }) end,
        misuse = function() db:collection "no/slash" end,
      }
      for name, handler in pairs(raises) do app:get("/raises/" .. name, handler) end

      local function echo(request)
        return 200, { method = request.method, target = request.target, path = request.path, params = request.params,
          query = request.query, all = tidemark.array(request:query_all "k"), headers = request.headers,
          body = request.body, remote = request.remote }
      end
      app:get("/echo", echo)
      app:post("/echo", echo)
      app:get("/echo/:one/and/*rest", echo)
      app:post("/json", function(request)
        local value, message, code = request:json()
        if value == nil then return 400, { message = message, code = code } end
        return 200, { type = type(value), integer = math.type(value), null = value == tidemark.null, value = value }
      end)
      local count = 0
      app:get("/count", function()
        count = count + 1
        return 200, { count = count }
      end)
    ]] }
  end)
  teardown(serving.clean)

  local function get(name) return server:ask("GET", "/returns/" .. name) end

  it("returns status, body and headers", function()
    for _, name in ipairs { "none", "nil" } do
      local answer = get(name)
      assert.equal(204, answer.status)
      assert.equal("", answer.body)
    end
    assert.equal(202, get "status".status)
    assert.equal(404, get "missing".status)
    local text = get "text"
    assert.same({ 200, "grüße", "text/plain; charset=utf-8" }, { text.status, text.body, text.headers["content-type"] })
    assert.equal("7", text.headers["content-length"])
    assert.equal("0", get "empty".headers["content-length"])
    local html = get "html"
    assert.same({ "<p>hi</p>", "text/html; charset=utf-8" }, { html.body, html.headers["content-type"] })
    assert.equal("text/html", get "lower".headers["content-type"])
    local headers = get "headers"
    assert.same({ 303, "/text", "5", "" },
      { headers.status, headers.headers.location, headers.headers["x-number"], headers.headers["x-empty"] })
    assert.equal(418, get "teapot".status)
    assert.equal(599, get "last".status)
  end)

  it("sends a table as JSON", function()
    local answer = get "table"
    assert.equal("application/json", answer.headers["content-type"])
    for _, part in ipairs { '"a":1', '"float":1.5', '"big":9007199254740993', '"null":null', '"list":[]', '"object":{}',
      '"text":"ü"' } do
      assert.truthy(answer.body:find(part, 1, true), part .. " is not in " .. answer.body)
    end
    assert.equal("[1,2,3]", get "array".body)
    assert.equal("application/vnd.api+json", get "typed".headers["content-type"])
  end)

  it("sends any bytes, and much of them", function()
    assert.equal("a\0b\r\n\r\nHTTP/1.1 200 OK\255", get "binary".body)
    assert.is_true(get "large".body == ("x"):rep(3000000))
  end)

  it("cannot break the framing by its own headers", function()
    local client = server:connect()
    for _, name in ipairs { "length", "coding", "nocontent" } do
      local answer = client:ask("GET", "/returns/" .. name)
      if answer.status == 200 then assert.equal("twelve bytes", answer.body) end
      if answer.headers.connection == "close" then client = server:connect() end
      assert.equal("grüße", client:ask("GET", "/returns/text").body)
    end
  end)

  it("that returns what is none of these is an internal error", function()
    for _, name in ipairs { "low", "high", "negative", "fraction", "status", "text", "boolean", "body", "cycle", "inf",
      "nested", "headers", "value", "bare", "name", "space", "table" } do
      local answer = server:ask("GET", "/wrong/" .. name)
      serving.problem(answer, 500)
      assert.is_nil(answer.headers["x-injected"])
      assert.is_nil(answer.headers["x-split"])
    end
  end)

  it("that raises is an internal error, told in the log and not to the client", function()
    local client = server:connect() -- the error ends neither the server nor the connection
    for _, name in ipairs { "text", "table", "nil", "object", "index", "overflow", "memory", "coroutine", "closing",
      "misuse" } do
      local answer = client:ask("GET", "/raises/" .. name)
      serving.problem(answer, 500)
      for _, part in ipairs { "secret", "traceback", ".lua", "slash" } do
        assert.is_nil(answer.body:find(part, 1, true), name .. ": " .. answer.body)
      end
      local id = answer.headers["x-request-id"]
      assert.is_true(id ~= nil and #id > 0, name)
      assert.truthy(server:written("errors", id:gsub("%p", "%%%0")), name .. ": its id is not in the log")
    end
    assert.truthy(server:written("errors", "app%.lua:%d+: secret word"))
    assert.truthy(server:written("errors", "stack traceback"))
  end)

  it("cannot end the server", function()
    for _, name in ipairs { "exit", "exit_closing" } do
      serving.problem(server:ask("GET", "/raises/" .. name), 500)
      assert.equal(200, get "text".status)
    end
    assert.is_nil(server.code)
  end)

  it("is given the request", function()
    local client = server:connect()
    local echo = client:ask("POST", "/echo?k=1&k=2&a+b=c+d%2B%26%3D&empty=&bare", { "X-One: 1", "x-one: 2",
      "Cookie: a=1", "Cookie: b=2", "Content-Type: text/plain" }, "body\0\1"):json()
    assert.equal("POST", echo.method)
    assert.equal("/echo?k=1&k=2&a+b=c+d%2B%26%3D&empty=&bare", echo.target)
    assert.equal("/echo", echo.path)
    assert.same({ k = "2", ["a b"] = "c d+&=", empty = "", bare = "" }, echo.query)
    assert.same({ "1", "2" }, echo.all)
    assert.equal("1, 2", echo.headers["x-one"])
    assert.equal("a=1; b=2", echo.headers.cookie)
    assert.equal("localhost", echo.headers.host)
    assert.equal("body\0\1", echo.body)
    assert.equal(client:address(), echo.remote)
    local plain = server:ask("GET", "/echo"):json()
    assert.same({ "", {}, {}, {} }, { plain.body, plain.params, plain.query, plain.all })
  end)

  it("is given the parameters of the path, decoded", function()
    local echo = server:ask("GET", "/echo/a%20%2F+b/and/x/%C3%BC/z?q=%2f"):json()
    assert.same({ one = "a /+b", rest = "x/ü/z" }, echo.params)
    assert.equal("/echo/a /+b/and/x/ü/z", echo.path)
    assert.equal("/", echo.query.q)
  end)

  it("is given a target in absolute form as its path", function()
    local echo = server:ask("GET", "http://localhost/echo?k=1"):json()
    assert.same({ "/echo", "1" }, { echo.path, echo.query.k })
  end)

  it("reads the body as JSON", function()
    local function json(text) return server:ask("POST", "/json", nil, text) end
    assert.same({ "table", 1 }, { json '{"a":1}':json().type, json '{"a":1}':json().value.a })
    assert.same({ "integer", "number" }, { json "9007199254740993":json().integer, json "9007199254740993":json().type })
    assert.truthy(json "9007199254740993".body:find("9007199254740993", 1, true))
    assert.equal("float", json "1.0":json().integer)
    assert.is_true(json " null ":json().null)
    assert.equal("table", json "[]":json().type)
    assert.truthy(json "[]".body:find('"value":[]', 1, true))
    for _, text in ipairs { "", "{", "{} x", "\239\187\191{}", '"\\ud800"', "'a'", "\255" } do
      local answer = json(text)
      assert.equal(400, answer.status, text)
      assert.equal("invalid", answer:json().code)
      assert.is_true(#answer:json().message > 0)
    end
  end)

  it("keeps its state from request to request", function()
    local first = server:ask("GET", "/count"):json().count
    local client = server:connect()
    for i = 1, 5 do assert.equal(first + i, client:ask("GET", "/count"):json().count) end
  end)

  it("runs in each thread's own state, all on one database", function()
    local shared = serving.start { threads = 3, app = [[
      local app, db = ...
      local c, calls, state = db:collection "c", 0, tostring({})
      app:post("/add", function()
        assert(c:create {})
        calls = calls + 1
        return 200, { state = state, calls = calls, count = #c }
      end)]] }
    local calls, states, greatest = {}, 0, 0
    for _ = 1, 60 do
      local told = shared:ask("POST", "/add"):json()
      if not calls[told.state] then states = states + 1 end
      calls[told.state] = told.calls
      greatest = math.max(greatest, told.count)
    end
    local sum = 0
    for _, n in pairs(calls) do sum = sum + n end
    assert.equal(60, sum)
    assert.equal(60, greatest)
    assert.is_true(states >= 1 and states <= 3)
    assert.equal(0, shared:stop())
  end)

  it("is documented by the command's help", function()
    local out, err, status = workspace.command "help serve"
    assert.equal(0, status, err)
    assert.matches("^usage: tidemark serve ", out)
    for option in ("db listen threads grace-s head-bytes-max fields-max target-bytes-max document-bytes-max head-timeout-ms "
      .. "body-timeout-ms idle-timeout-ms handler-timeout-ms connections-max pipeline-max waiting-max token log "
      .. "durability"):gmatch "%S+" do
      assert.truthy(out:find("--" .. option, 1, true), "--" .. option .. " is not in the help")
    end
  end)
end)
