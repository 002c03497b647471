local cjson = require "cjson"
local examples = require "spec.support.examples"
local server = require "spec.support.server"
local workspace = require "spec.support.workspace"

-- Every application in examples/ is served, lives through its story, is restarted and remembers; and its load runs.
describe("the examples for the server", function()
  after_each(server.clean)

  --- Sends a request and expects a status; returns the decoded body, or its text, and the headers.
  local function expect(status, app, method, path, body, headers)
    if type(body) == "table" then body = cjson.encode(body) end
    local found, text, fields = app:request(method, path, body, headers)
    assert.equal(status, found, ("%s %s: %s\n%s"):format(method, path, text, app:errors()))
    local content = fields["content-type"] or ""
    if status >= 400 and method ~= "HEAD" and not content:find "html" then
      assert.equal("application/problem+json", content)
      assert.is_string(cjson.decode(text).code)
    end
    return content:find "json" and text ~= "" and cjson.decode(text) or text, fields
  end

  --- Restarts it, and asks for the same again.
  local function remembers(app, paths)
    local before = {}
    local function ask(path)
      local status, body, fields = app:request("GET", path)
      return { status, fields["content-type"] == "application/json" and cjson.decode(body) or body, fields.etag or "" }
    end
    for i, path in ipairs(paths) do before[i] = ask(path) end
    app = app:restart()
    for i, path in ipairs(paths) do assert.same(before[i], ask(path), path) end
    return app
  end

  --- Sends the same request `count` times, eight at once; returns the bodies that are not empty.
  local function at_once(app, count, method, path)
    local directory = workspace.path():match "(.*)/"
    local out, err, status = workspace.run(("seq %d | xargs -P 8 -I{} curl -sS --fail -o %s/{} -X %s %s%s"):format(count,
      directory, method, app.url, path))
    assert.equal(0, status, out .. err)
    local bodies = {}
    for n = 1, count do
      local file = io.open(directory .. "/" .. n)
      if file then
        local body = file:read "a"
        file:close()
        if body ~= "" then bodies[#bodies + 1] = body end
      end
    end
    return bodies
  end

  local stories, environments = {}, {}

  function stories.blog(app)
    local _, fields = expect(201, app, "POST", "/api/articles", { id = "a/b?", title = "<b>Hi</b> & \"you\"",
      text = "One <script>alert(1)</script>.\n\nTwo." })
    local first, article = fields.etag, fields.location
    assert.equal("/api/articles/a%2Fb%3F", article)
    expect(409, app, "POST", "/api/articles", { id = "a/b?" })
    expect(422, app, "POST", "/api/articles", "[]")
    expect(400, app, "POST", "/api/articles", "{")
    expect(404, app, "GET", "/api/articles/nothing")
    local _, second = expect(200, app, "PATCH", article, { tags = { "x" } }, { "If-Match: " .. first })
    assert.not_equal(first, second.etag)
    expect(412, app, "PATCH", article, { title = "mine" }, { "If-Match: " .. first })
    expect(412, app, "PUT", article, { title = "mine" }, { "If-Match: " .. first })
    expect(412, app, "DELETE", article, nil, { "If-Match: " .. first })
    expect(304, app, "GET", article, nil, { "If-None-Match: " .. second.etag })
    assert.same({ "x" }, expect(200, app, "GET", article).tags)

    local comments = article .. "/comments"
    expect(400, app, "POST", comments, "{")
    for _, body in ipairs { "[1]", "null", "7", '{"author":"Ada"}', '{"author":" ","text":"x"}',
      '{"author":"Ada","text":{}}', ('{"author":"Ada","text":"%s"}'):format(("x"):rep(5001)) } do
      expect(422, app, "POST", comments, body)
    end
    expect(404, app, "POST", "/api/articles/nothing/comments", { author = "Ada", text = "x" })
    expect(405, app, "GET", comments)
    assert.equal("Ada", expect(201, app, "POST", comments, { author = "Ada", text = "'<i>' & so on" }).author)
    expect(201, app, "POST", comments, { author = "Bob", text = "again" })

    local page, head = expect(200, app, "GET", "/articles/a%2Fb%3F")
    assert.equal("text/html; charset=utf-8", head["content-type"])
    assert.matches("default%-src 'none'", head["content-security-policy"])
    assert.truthy(page:find("<title>&lt;b&gt;Hi&lt;/b&gt; &amp; &quot;you&quot;</title>", 1, true), page)
    assert.truthy(page:find("<p>One &lt;script&gt;alert(1)&lt;/script&gt;.</p>\n<p>Two.</p>", 1, true), page)
    assert.truthy(page:find("<blockquote>&#39;&lt;i&gt;&#39; &amp; so on<br>Ada</blockquote>", 1, true), page)
    assert.truthy(page:find("again", 1, true))
    assert.is_nil(page:find "<[bi]>")
    assert.is_nil(page:find "<script")
    assert.matches("no such article", (expect(404, app, "GET", "/articles/nothing")))

    -- Articles of any shape have a page.
    for i, odd in ipairs { '{"title":7,"text":[],"comments":{}}', "{}", '{"comments":[1,{"text":null},[]],"title":null}' } do
      expect(201, app, "PUT", "/api/articles/odd" .. i, odd)
      expect(200, app, "GET", "/articles/odd" .. i)
    end
    local front = expect(200, app, "GET", "/")
    assert.truthy(front:find('<a href="/articles/a%2Fb%3F">&lt;b&gt;', 1, true), front)
    assert.is_true(front:find("odd3", 1, true) < front:find("a%2Fb", 1, true)) -- the newest first
    expect(204, app, "DELETE", "/api/articles/odd3")
    assert.is_nil(expect(200, app, "GET", "/"):find("odd3", 1, true))
    expect(200, app, "HEAD", "/")
    return remembers(app, { "/", "/articles/a%2Fb%3F", article })
  end

  function stories.counter(app)
    expect(404, app, "GET", "/counters/a")
    local counted, fields = expect(200, app, "POST", "/counters/a")
    assert.same({ name = "a", value = 1 }, counted)
    local match = { "If-Match: " .. fields.etag }
    assert.equal(11, expect(200, app, "POST", "/counters/a", { by = 10 }, match).value)
    expect(412, app, "POST", "/counters/a", { by = 10 }, match)
    expect(412, app, "POST", "/counters/b", { by = 10 }, match)
    expect(404, app, "GET", "/counters/b")
    assert.equal(8, expect(200, app, "POST", "/counters/a", { by = -3 }).value)
    expect(400, app, "POST", "/counters/a", "{")
    for _, body in ipairs { "{}", "[]", "7", "null", '{"by":1.5}', '{"by":"1"}', '{"by":1000000001}', '{"by":null}' } do
      expect(422, app, "POST", "/counters/a", body)
    end
    expect(422, app, "POST", "/counters/%01")
    expect(404, app, "GET", "/counters/%01")
    expect(405, app, "PUT", "/counters/a", "{}")
    at_once(app, 100, "POST", "/counters/many")
    assert.equal(100, expect(200, app, "GET", "/counters/many").value)
    return remembers(app, { "/counters/a", "/counters/many" })
  end

  function stories.shortener(app)
    local manual = "https://www.lua.org/manual/5.4/?a=b#c"
    local made, fields = expect(201, app, "POST", "/links", { url = manual, code = "manual" })
    assert.same({ code = "manual", url = manual, hits = 0 }, made)
    assert.equal("/manual", fields.location)
    expect(409, app, "POST", "/links", { url = manual, code = "manual" })
    expect(400, app, "POST", "/links", "{")
    for _, body in ipairs { "[]", "{}", '"x"', '{"url":7}', '{"url":""}', '{"url":"lua.org"}', '{"url":"javascript:alert(1)"}',
      '{"url":"http://"}', '{"url":"http:///path"}', '{"url":"http://a b/"}', '{"url":"http://a/\\r\\nSet-Cookie: x"}',
      '{"url":"http://a/\\u00e4"}', '{"url":"https://bank.example@evil.example/"}', '{"url":"ftp://a/"}',
      ('{"url":"http://a/%s"}'):format(("x"):rep(2048)), '{"url":"http://a/","code":"a/b"}', '{"url":"http://a/","code":""}',
      '{"url":"http://a/","code":7}', '{"url":"http://a/","code":"health"}', '{"url":"http://a/","code":"links"}' } do
      expect(422, app, "POST", "/links", body)
    end
    for _, url in ipairs { "http://a", "HTTPS://a.example:8443", "http://[::1]:80/x", "http://127.0.0.1/?q=%20" } do
      local _, head = expect(201, app, "POST", "/links", { url = url })
      assert.matches("^/[%w_-]+$", head.location)
      assert.equal(8, #head.location - 1)
      local _, sent = expect(302, app, "GET", head.location)
      assert.equal(url, sent.location)
      assert.equal("no-store", sent["cache-control"])
    end
    expect(404, app, "GET", "/nothing")
    expect(404, app, "GET", "/links/nothing")
    expect(404, app, "DELETE", "/links/nothing")
    local _, head = expect(302, app, "HEAD", "/manual")
    assert.equal(manual, head.location)
    assert.equal(0, expect(200, app, "GET", "/links/manual").hits)
    at_once(app, 60, "GET", "/manual")
    assert.equal(60, expect(200, app, "GET", "/links/manual").hits)
    assert.equal("ok", expect(200, app, "GET", "/health").status) -- not a code
    app = remembers(app, { "/links/manual" })
    expect(204, app, "DELETE", "/links/manual")
    expect(404, app, "GET", "/manual")
    return app
  end

  environments.queue = { QUEUE_LEASE_S = "3600" }

  function stories.queue(app)
    expect(204, app, "POST", "/jobs/claim")
    for _, body in ipairs { "[]", "{}", "7" } do expect(422, app, "POST", "/jobs", body) end
    expect(400, app, "POST", "/jobs", "{")
    local first = expect(201, app, "POST", "/jobs", { payload = { n = 1 } }).id
    local _, fields = expect(201, app, "POST", "/jobs", { payload = "two" })
    assert.same({ id = first, payload = { n = 1 }, attempts = 0, leased = false }, expect(200, app, "GET", "/jobs/" .. first))
    local job = expect(200, app, "POST", "/jobs/claim") -- the older one
    assert.same({ first, { n = 1 }, 1 }, { job.id, job.payload, job.attempts })
    assert.is_true(expect(200, app, "GET", "/jobs/" .. first).leased)
    local two = expect(200, app, "POST", "/jobs/claim")
    assert.equal("two", two.payload)
    assert.equal("/jobs/" .. two.id, fields.location)
    expect(204, app, "POST", "/jobs/claim")
    local complete = "/jobs/" .. first .. "/complete"
    expect(400, app, "POST", complete, "{")
    for _, body in ipairs { "{}", "[]", '{"lease":0}', '{"lease":"x"}', '{"lease":1.5}' } do
      expect(422, app, "POST", complete, body)
    end
    expect(409, app, "POST", complete, { lease = two.lease })
    expect(204, app, "POST", complete, { lease = job.lease })
    expect(404, app, "POST", complete, { lease = job.lease })
    expect(404, app, "GET", "/jobs/" .. first)

    app = remembers(app, { "/jobs/" .. two.id })
    expect(204, app, "POST", "/jobs/claim") -- its lease goes on
    expect(204, app, "POST", "/jobs/" .. two.id .. "/complete", { lease = two.lease })

    -- Many workers, none of whom gets what another one has.
    for n = 1, 20 do expect(201, app, "POST", "/jobs", { payload = n }) end
    local payloads, claims = {}, at_once(app, 24, "POST", "/jobs/claim")
    for _, body in ipairs(claims) do payloads[cjson.decode(body).payload] = true end
    assert.same({ 20, 20 }, { #claims, #payloads })

    -- A lease that ends: the job comes again, and who is late is told.
    app.environment = { QUEUE_LEASE_S = "1" }
    app = app:restart()
    expect(201, app, "POST", "/jobs", { payload = "slow" })
    local late = expect(200, app, "POST", "/jobs/claim")
    local again = server.eventually(function()
      local status, body = app:request("POST", "/jobs/claim")
      return status == 200 and cjson.decode(body)
    end, "a second claim")
    assert.same({ late.id, "slow", 2 }, { again.id, again.payload, again.attempts })
    expect(409, app, "POST", "/jobs/" .. late.id .. "/complete", { lease = late.lease })
    return app
  end

  -- Answers 500 to the first delivery of each event, and says what it was sent.
  local function receiver(options, path)
    local script = workspace.path():match "(.*)/" .. "/receiver.lua"
    workspace.write(script, [[
      local app, db = ...
      local received = db:collection "received"
      app:post("/hook/:secret", function(request)
        local id = request.headers["webhook-id"]
        local before = received:get(id)
        assert(received:put { id = id, body = request.body, secret = request.params.secret,
          type = request.headers["content-type"], times = (before and before.times or 0) + 1 })
        return before and 204 or 500
      end)
      app:get("/received/:id", function(request)
        return 200, received:get(request.params.id) or { times = 0 }
      end)]])
    return server.start(script, path or workspace.path(), options or "--threads 1")
  end

  function stories.webhook(app)
    for _, body in ipairs { "7", "null", '"x"' } do expect(422, app, "POST", "/events", body) end
    expect(400, app, "POST", "/events", "{")
    expect(404, app, "GET", "/events/nothing")
    expect(404, app, "POST", "/events/nothing/deliver")
    local function state(path, wanted)
      return server.eventually(function()
        local event = expect(200, app, "GET", path)
        return event.state == wanted and event
      end, path .. " is " .. wanted)
    end

    -- Nobody is there: it stays, over a restart too, until it is given up.
    local _, lost = expect(202, app, "POST", "/events", '{"lost": 1}')
    local _, kept = expect(202, app, "POST", "/events", '{"a": [1.0, "ä"] }')
    server.eventually(function() return expect(200, app, "GET", kept.location).error == "ECONNREFUSED" end, "an attempt")
    server.eventually(function()
      local status, text = app:request("POST", lost.location .. "/deliver")
      assert.is_true(status == 502 or status == 409 or status == 404, text) -- the timer may be at it
      return status == 404
    end, "the end of its attempts")
    assert.equal(12, state(lost.location, "dead").attempts)

    -- The receiver comes, and fails once.
    local there = receiver()
    app.environment = { WEBHOOK_TARGET = there.url .. "/hook/s3cret?x=1" }
    app = app:restart()
    assert.equal("dead", expect(200, app, "GET", lost.location).state)
    state(kept.location, "delivered")
    expect(404, app, "POST", kept.location .. "/deliver")
    local id = kept.location:match "[^/]+$"
    local got = expect(200, there, "GET", "/received/" .. id)
    assert.same({ '{"a": [1.0, "ä"] }', "s3cret", "application/json" }, { got.body, got.secret, got.type })
    assert.is_true(got.times >= 2)

    -- Delivered while a client waits for it.
    local _, now = expect(202, app, "POST", "/events", { now = true })
    server.eventually(function()
      local status = app:request("POST", now.location .. "/deliver")
      return status == 200 or status == 404
    end, "delivery")
    assert.equal("delivered", expect(200, app, "GET", now.location).state)
    assert.equal(0, there:stop())
    return remembers(app, { lost.location, kept.location })
  end

  -- A port that nobody listens on.
  environments.webhook = { WEBHOOK_TARGET = "http://127.0.0.1:1/" }

  it("are all told, and have a load", function()
    local loads = {}
    for _, name in ipairs(examples.loads) do loads[name] = true end
    assert.is_true(#examples.applications >= 5)
    for _, name in ipairs(examples.applications) do
      assert.is_function(stories[name], "no story of examples/" .. name .. ".lua in spec/server_examples_spec.lua")
      assert.is_true(loads[name], "no examples/load/" .. name .. ".lua")
      loads[name] = nil
    end
    assert.same({ engine = true }, loads)
  end)

  for _, name in ipairs(examples.applications) do
    local script = "examples/" .. name .. ".lua"

    it("serve: " .. name, function()
      local app = server.start(script, workspace.path(), "--threads 2", environments[name])
      app = stories[name](app)
      assert.equal(0, app:stop())
      local _, err, status = workspace.command("verify " .. app.path)
      assert.equal(0, status, err)
      assert.is_nil(app:errors():find("traceback", 1, true), app:errors())
    end)

    it("load: " .. name, function()
      local environment = environments[name]
      if name == "webhook" then environment = { WEBHOOK_TARGET = receiver().url .. "/hook/x" } end
      local app = server.start(script, workspace.path(), "--threads 2", environment)
      local out, err, status = workspace.command(("load examples/load/%s.lua --url %s --requests 200 --timeout 30s --json -")
        :format(name, app.url))
      assert.equal(0, status, out .. err .. app:errors())
      local figures = cjson.decode(out)
      assert.same({ 200, 0 }, { figures.requests, figures.errors })
      assert.equal(0, app:stop())
    end)
  end

  it("load: engine", function()
    local out, err, status = workspace.command(("load examples/load/engine.lua --engine %s --requests 2000 --threads 2 "
      .. "--json - -- 100"):format(workspace.path()))
    assert.equal(0, status, out .. err)
    local figures = cjson.decode(out)
    assert.same({ 2000, 0 }, { figures.requests, figures.errors })
  end)

  describe("blog, under the load testers that others use:", function()
    local app
    before_each(function()
      app = server.start("examples/blog.lua", workspace.path())
      for n = 1, 20 do
        expect(201, app, "POST", "/api/articles", { id = "article-" .. n, title = "Article " .. n, text = ("word "):rep(50) })
      end
    end)

    local function run(command, ...)
      local out, err, status = workspace.run(command:format(...))
      assert.equal(0, status, out .. err)
      assert.equal(0, app:stop())
      return out
    end

    it("wrk", function()
      local out = run("wrk -t1 -c4 -d1s %s/api/articles/article-7", app.url)
      assert.is_nil(out:find "Socket errors" or out:find "Non%-2xx", out)
      assert.is_true(tonumber(out:match "(%d+) requests in") > 0, out)
    end)

    it("wrk with our script", function()
      local out = run("wrk -t2 -c4 -d1s -s examples/load/blog.lua %s", app.url)
      assert.is_nil(out:find "Socket errors" or out:find "Non%-2xx", out)
      assert.is_true(tonumber(out:match "(%d+) requests in") > 0, out)
    end)

    it("ab", function()
      local out = run("ab -q -k -n 300 -c 4 %s/articles/article-7", app.url)
      assert.matches("Complete requests: +300\n", out)
      assert.matches("Failed requests: +0\n", out)
      assert.matches("Keep%-Alive requests: +300\n", out)
      assert.is_nil(out:find "Non%-2xx", out)
    end)

    it("h2load", function()
      local out = run("h2load --h1 -n 300 -c 4 %s/api/articles?limit=10", app.url)
      assert.matches("300 succeeded, 0 failed, 0 errored, 0 timeout", out)
      assert.matches("status codes: 300 2xx", out)
    end)
  end)
end)

describe("routes that take all paths", function()
  after_each(server.clean)

  it("leave /health, /ready and /metrics alone, unless they are named", function()
    local script, token = workspace.path():match "(.*)/" .. "/app.lua", workspace.path():match "(.*)/" .. "/token"
    workspace.write(token, "sesame-open\n")
    workspace.write(script, [[
      local app = ...
      app:get("/:any", function() return 200, "mine" end)
      app:get("/*rest", function() return 200, "rest" end)
      app:get("/metrics", function() return 200, "my metrics" end)]])
    local app = server.start(script, workspace.path(), "--threads 1 --token " .. token)
    local bearer = { "Authorization: Bearer sesame-open" }
    local function body(path, headers) return select(2, app:request("GET", path, nil, headers)) end
    assert.equal('{"status":"ok"}', body "/health") -- which needs no token, so it must not be the script's
    assert.equal(405, (app:request("POST", "/health", "{}", bearer)))
    assert.equal('{"status":"ready"}', body("/ready", bearer))
    assert.equal("my metrics", body("/metrics", bearer))
    assert.equal("mine", body("/healthy", bearer))
    assert.equal("rest", body("/health/x", bearer))
    assert.equal(401, (app:request("GET", "/healthy")))
  end)
end)
