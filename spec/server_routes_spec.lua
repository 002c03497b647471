local serving = require "spec.support.serving"

-- Which handler a request reaches, and what is wrapped around it.
describe("a route", function()
  local server

  setup(function()
    server = serving.start { app = [[
      local app, db = ...
      local function says(name)
        return function(request)
          request.params.handler = name
          return 200, request.params
        end
      end
      app:get("/", says "root")
      app:get("/a/*rest", says "rest")
      app:get("/a/:x", says "param")
      app:get("/a/b", says "literal")
      app:get("/a/b/:y/d", says "deep")
      app:get("/x/literal/one", says "one")
      app:get("/x/:p/two", says "two")
      app:get("/pair/:from/:to", says "pair")
      app:get("/dots/a.b-c_d~e", says "dots")
      app:get("/%C3%BCber", says "encoded")
      app:get("/all", says "get")
      app:post("/all", says "post")
      app:put("/all", says "put")
      app:patch("/all", says "patch")
      app:delete("/all", says "delete")
      app:route("PROPFIND", "/all", says "propfind")
      app:route("GET", "/routed/:id", says "routed")
      app:get("/long", function() return 200, ("x"):rep(1000), { ["X-Own"] = "yes" } end)
      app:resource("/api/things", db:collection "things")

      local refused = {}
      local function refuses(name, ...)
        local ok, message = pcall(...)
        refused[name] = not ok and tostring(message) or nil
      end
      refuses("twice", app.get, app, "/all", says "again")
      refuses("twice by route", app.route, app, "GET", "/all", says "again")
      refuses("twice with a parameter", app.get, app, "/pair/:from/:to", says "again")
      refuses("no handler", app.get, app, "/no-handler")
      refuses("a number", app.get, app, "/number", 42)
      refuses("no path", app.get, app, nil, says "x")
      refuses("relative", app.get, app, "relative", says "x")
      refuses("rest before the end", app.get, app, "/r/*rest/more", says "x")
      refuses("no name", app.get, app, "/r/:", says "x")
      refuses("bad method", app.route, app, "BAD METHOD", "/r", says "x")
      refuses("use of nothing", app.use, app)
      refuses("no collection", app.resource, app, "/r", {})
      app:get("/refused", function() return 200, refused end)
    ]] }
  end)
  teardown(serving.clean)

  local function get(target) return server:ask("GET", target) end

  it("is found: literal over :name over *name", function()
    assert.same({ handler = "root" }, get "/":json())
    assert.same({ handler = "literal" }, get "/a/b":json())
    assert.same({ handler = "param", x = "bb" }, get "/a/bb":json())
    assert.same({ handler = "rest", rest = "b/c" }, get "/a/b/c":json())
    assert.same({ handler = "rest", rest = "x/y/z" }, get "/a/x/y/z":json())
    assert.same({ handler = "deep", y = "c" }, get "/a/b/c/d":json())
    assert.same({ handler = "pair", from = "1", to = "2" }, get "/pair/1/2":json())
    assert.same({ handler = "dots" }, get "/dots/a.b-c_d~e":json())
    assert.same({ handler = "routed", id = "7" }, get "/routed/7":json())
  end)

  it("is found behind a literal that leads nowhere", function()
    assert.same({ handler = "one" }, get "/x/literal/one":json())
    assert.same({ handler = "two", p = "literal" }, get "/x/literal/two":json())
  end)

  it("compares decoded segments; %2F stays inside its segment", function()
    assert.same({ handler = "literal" }, get "/%61/%62":json())
    assert.same({ handler = "param", x = "b/c" }, get "/a/b%2Fc":json())
    assert.same({ handler = "param", x = "b/c" }, get "/a/b%2fc?q=1":json())
    assert.same({ handler = "pair", from = "a/b", to = "c?d" }, get "/pair/a%2Fb/c%3Fd":json())
    assert.same({ handler = "param", x = "%2F" }, get "/a/%252F":json())
  end)

  it("does not resolve dots and does not join slashes", function()
    serving.problem(get "/x/../a", 404)
    serving.problem(get "/pair//x/", 404)
  end)

  it("exists for each method", function()
    for method in ("GET POST PUT PATCH DELETE PROPFIND"):gmatch "%S+" do
      assert.same({ handler = method:lower() }, server:ask(method, "/all"):json())
    end
  end)

  it("that is not there is a 404 as a problem", function()
    for _, target in ipairs { "/nobody", "/a", "/all/more", "/pair/1", "/A/b", "/api", "/api/thingsx" } do
      serving.problem(get(target), 404)
    end
    serving.problem(server:ask("POST", "/nobody", nil, "{}"), 404)
    serving.problem(server:ask("OPTIONS", "/nobody"), 404)
    local head = server:ask("HEAD", "/nobody")
    assert.same({ 404, "" }, { head.status, head.body })
  end)

  local function allowed(answer)
    local methods = {}
    for method in answer.headers.allow:gmatch "[^, ]+" do methods[#methods + 1] = method end
    table.sort(methods)
    return table.concat(methods, " ")
  end

  it("with another method is a 405 with Allow", function()
    local answer = server:ask("DELETE", "/a/b")
    serving.problem(answer, 405)
    assert.equal("GET HEAD OPTIONS", allowed(answer))
    assert.equal("DELETE GET HEAD OPTIONS PATCH POST PROPFIND PUT", allowed(server:ask("MKCOL", "/all")))
    serving.problem(server:ask("POST", "/routed/7", nil, "{}"), 405)
    local list = server:ask("DELETE", "/api/things")
    serving.problem(list, 405)
    assert.equal("GET HEAD OPTIONS POST", allowed(list))
    local one = server:ask("POST", "/api/things/x", nil, "{}")
    serving.problem(one, 405)
    assert.equal("DELETE GET HEAD OPTIONS PATCH PUT", allowed(one))
  end)

  it("answers OPTIONS with 204 and Allow", function()
    for target, methods in pairs { ["/a/b"] = "GET HEAD OPTIONS", ["/all"] = "DELETE GET HEAD OPTIONS PATCH POST PROPFIND PUT",
      ["/api/things"] = "GET HEAD OPTIONS POST", ["/api/things/"] = "GET HEAD OPTIONS POST",
      ["/api/things/x"] = "DELETE GET HEAD OPTIONS PATCH PUT" } do
      local answer = server:ask("OPTIONS", target)
      assert.same({ 204, "", methods }, { answer.status, answer.body, allowed(answer) }, target)
    end
  end)

  it("answers HEAD as GET without the body", function()
    local client = server:connect()
    local whole = client:ask("GET", "/long")
    local head = client:ask("HEAD", "/long")
    assert.same({ 200, "", "1000", "yes" },
      { head.status, head.body, head.headers["content-length"], head.headers["x-own"] })
    assert.equal(whole.headers["content-type"], head.headers["content-type"])
    assert.equal("get", client:ask("GET", "/all"):json().handler) -- the connection is in step
    assert.equal(1000, #client:ask("GET", "/long").body)
  end)

  it("that cannot be is refused when the script runs", function()
    local refused = get "/refused":json()
    for _, name in ipairs { "twice", "twice by route", "twice with a parameter", "no handler", "a number", "no path",
      "relative", "rest before the end", "no name", "bad method", "use of nothing", "no collection" } do
      assert.is_string(refused[name], name .. " was taken")
    end
    assert.matches("/all", refused.twice)
  end)
end)

describe("app:use", function()
  local server

  setup(function()
    server = serving.start { app = [[
      local app, db = ...
      local function trail(name)
        return function(request, next)
          request.trail = (request.trail or "") .. name
          local status, body, headers = next(request)
          headers = headers or {}
          headers["X-Trail"] = name .. (headers["X-Trail"] or "")
          return status, body, headers
        end
      end
      app:use(trail "a")
      app:use(trail "b")
      app:use("/admin", trail "c")
      app:get("/plain", function(request) return 200, { trail = request.trail } end)
      app:get("/admin", function(request) return 200, { trail = request.trail } end)
      app:get("/admin/deep/er", function(request) return 200, { trail = request.trail } end)
      app:get("/administrator", function(request) return 200, { trail = request.trail } end)
      app:resource("/admin/things", db:collection "things")

      app:use("/locked", function(request, next)
        if request.headers.key ~= "yes" then return 401, { message = "no" }, { ["WWW-Authenticate"] = "Key" } end
        return next(request)
      end)
      app:get("/locked/room", function() return 200, "inside" end)
      app:use("/changed", function(request, next)
        local status, body, headers = next(request)
        body.added = true
        headers = headers or {}
        headers["X-Old"] = tostring(status)
        return 203, body, headers
      end)
      app:get("/changed", function() return 200, { own = true }, { ["X-Own"] = "yes" } end)
      app:use("/raises", function() error "in the middle" end)
      app:get("/raises/x", function() return 200 end)
      app:use("/silent", function(request, next) next(request) end)
      app:get("/silent", function() return 200, "lost" end)
      app:use("/waits", function(request, next)
        assert(db:collection "log":create({ path = request.path }, { durability = "durable" }))
        local status, body, headers = next(request)
        assert(db:collection "log":create({ status = status }, { durability = "durable" }))
        return status, body, headers
      end)
      app:get("/waits/:id", function(request)
        local id, version = assert(db:collection "things":create({ id = request.params.id }, { durability = "durable" }))
        return 201, { id = id, version = version }
      end)
    ]] }
  end)
  teardown(serving.clean)

  it("wraps handlers, the first used outermost", function()
    local answer = server:ask("GET", "/plain")
    assert.same({ "ab", "ab" }, { answer:json().trail, answer.headers["x-trail"] })
  end)

  it("with a prefix wraps what is below it, by whole segments", function()
    for target, trail in pairs { ["/admin"] = "abc", ["/admin/deep/er"] = "abc", ["/administrator"] = "ab" } do
      local answer = server:ask("GET", target)
      assert.same({ trail, trail }, { answer:json().trail, answer.headers["x-trail"] }, target)
    end
  end)

  it("wraps resources, 404, 405, OPTIONS and the built-in paths", function()
    local created = server:ask("POST", "/admin/things", nil, '{"id":"t"}')
    assert.same({ 201, "abc", "/admin/things/t" },
      { created.status, created.headers["x-trail"], created.headers.location })
    assert.is_number(created:version_tag())
    assert.equal("t", created:json().id)
    assert.same({ "abc", "t" }, { server:ask("GET", "/admin/things/t").headers["x-trail"],
      server:ask("GET", "/admin/things/t"):json().id })
    for target, status in pairs { ["/nobody"] = 404, ["/health"] = 200, ["/ready"] = 200, ["/metrics"] = 200 } do
      local answer = server:ask("GET", target)
      assert.same({ status, "ab" }, { answer.status, answer.headers["x-trail"] }, target)
    end
    serving.problem(server:ask("GET", "/admin/nobody"), 404)
    local answer = server:ask("DELETE", "/plain")
    assert.same({ 405, "ab" }, { answer.status, answer.headers["x-trail"] })
    assert.matches("GET", answer.headers.allow)
    assert.equal("ab", server:ask("OPTIONS", "/plain").headers["x-trail"])
    assert.equal("ab", server:ask("HEAD", "/plain").headers["x-trail"])
  end)

  it("answers without next, or changes what next returned", function()
    local client = server:connect()
    local refused = client:ask("GET", "/locked/room")
    assert.same({ 401, "Key", "no" }, { refused.status, refused.headers["www-authenticate"], refused:json().message })
    assert.equal("inside", client:ask("GET", "/locked/room", { "Key: yes" }).body)
    assert.equal(401, client:ask("GET", "/locked/nobody").status)
    local changed = client:ask("GET", "/changed")
    assert.equal(203, changed.status)
    assert.same({ own = true, added = true }, changed:json())
    assert.same({ "yes", "200" }, { changed.headers["x-own"], changed.headers["x-old"] })
    assert.equal(204, client:ask("GET", "/silent").status)
  end)

  it("that raises is an internal error", function()
    serving.problem(server:ask("GET", "/raises/x"), 500)
    assert.truthy(server:written("errors", "in the middle"))
  end)

  it("may wait, before and after what waits itself", function()
    local client = server:connect()
    for i = 1, 3 do
      local answer = client:ask("GET", "/waits/" .. i)
      assert.same({ 201, tostring(i) }, { answer.status, answer:json().id })
    end
  end)
end)

describe("the built-in paths", function()
  teardown(serving.clean)

  it("are the script's where it takes them", function()
    local server = serving.start { app = [[
      local app = ...
      app:get("/health", function() return 200, "own health" end)
      app:get("/metrics", function() return 418 end)
      app:get("/ready/:what", function() return 200, "below" end)]] }
    assert.equal("own health", server:ask("GET", "/health").body)
    assert.equal(418, server:ask("GET", "/metrics").status)
    assert.equal(200, server:ask("GET", "/ready").status)
    assert.equal("below", server:ask("GET", "/ready/x").body)
  end)
end)
