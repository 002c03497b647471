local cjson = require "cjson"
local workspace = require "spec.support.workspace"
local serving = require "spec.support.serving"

-- A collection as a resource: each row of its table, preconditions, preferences, and what is refused.
describe("a resource", function()
  local server

  setup(function()
    server = serving.start { arguments = "--document-bytes-max 20000", app = [[
      local app, db = ...
      app:resource("/api/articles", db:collection "articles")
      app:resource("/api/notes/", db:collection "notes")
      app:get("/api/articles/:id/title", function(request)
        local article = db:collection "articles":get(request.params.id)
        if not article then return 404 end
        return 200, { title = article.title }
      end)]] }
  end)
  teardown(serving.clean)

  local base = "/api/articles"
  local function ask(...) return server:ask(...) end
  local function create(document, headers) return ask("POST", base, headers, cjson.encode(document)) end
  local function read(id, headers) return ask("GET", base .. "/" .. id, headers) end

  it("creates", function()
    local answer = create { id = "created", title = "Hello" }
    assert.equal(201, answer.status)
    assert.equal("application/json", answer.headers["content-type"])
    assert.same({ id = "created", title = "Hello" }, answer:json())
    assert.equal(base .. "/created", answer.headers.location)
    assert.is_number(answer:version_tag())
    assert.same(answer:json(), ask("GET", answer.headers.location):json())
    local made = create { title = "without id" }
    assert.equal(201, made.status)
    assert.matches("^%x+%-%x+%-7%x+%-%x+%-%x+$", made:json().id)
    assert.equal(base .. "/" .. made:json().id, made.headers.location)
    assert.is_true(made:version_tag() > answer:version_tag())
    serving.problem(create { id = "created" }, 409, "exists")
    assert.equal("Hello", read "created":json().title)
  end)

  it("keeps exactly what it was given", function()
    local text = '{"id":"exact","big":9007199254740993,"float":1.0,"list":[],"object":{},"null":null,"text":"ü\\u0000"}'
    assert.equal(201, ask("POST", base, nil, text).status)
    local body = read "exact".body
    for part in ('"big":9007199254740993 "float":1.0 "list":[] "object":{} "null":null'):gmatch "%S+" do
      assert.truthy(body:find(part, 1, true), body)
    end
  end)

  it("reads, and says when nothing has changed", function()
    local tag = create { id = "read", n = 1 }.headers.etag
    local answer = read "read"
    assert.same({ 200, tag, "application/json" }, { answer.status, answer.headers.etag, answer.headers["content-type"] })
    for _, fits in ipairs { tag, "*", 'W/' .. tag, '"0", ' .. tag, '"x",' .. tag .. ' ,W/"y"' } do
      local same = read("read", { "If-None-Match: " .. fits })
      assert.same({ 304, "", tag }, { same.status, same.body, same.headers.etag }, fits)
    end
    for _, other in ipairs { '"0"', 'W/"0"', tag:gsub('"$', '0"'), '"0", "1000000"' } do
      assert.equal(200, read("read", { "If-None-Match: " .. other }).status, other)
    end
    local head = ask("HEAD", base .. "/read")
    assert.same({ 200, tag, tostring(#answer.body) },
      { head.status, head.headers.etag, head.headers["content-length"] })
    serving.problem(read "nobody", 404, "not_found")
    serving.problem(read("nobody", { "If-None-Match: *" }), 404, "not_found")
    serving.problem(read(("x"):rep(256)), 404, "not_found")
  end)

  it("replaces, or creates where it was absent", function()
    local answer = ask("PUT", base .. "/put", nil, '{"n":1}')
    assert.same({ 201, "put", 1 }, { answer.status, answer:json().id, answer:json().n })
    local again = ask("PUT", base .. "/put", nil, '{"id":"put","m":2}')
    assert.equal(200, again.status)
    assert.same({ id = "put", m = 2 }, again:json())
    assert.is_true(again:version_tag() > answer:version_tag())
    assert.same({ id = "put", m = 2 }, read "put":json())
    assert.equal(again.headers.etag, read "put".headers.etag)
    serving.problem(ask("PUT", base .. "/put", nil, '{"id":"other"}'), 422, "invalid")
    serving.problem(ask("PUT", base .. "/put", nil, '{"id":7}'), 422, "invalid")
    assert.equal(404, read "other".status)
  end)

  it("changes by a merge patch", function()
    create { id = "patch", a = 1, deep = { b = 2, c = 3 }, list = { 1, 2 } }
    local answer = ask("PATCH", base .. "/patch", { "Content-Type: application/merge-patch+json" },
      '{"a":null,"deep":{"b":null,"d":4},"list":[3],"new":{"x":null,"y":1}}')
    assert.equal(200, answer.status)
    assert.same({ id = "patch", deep = { c = 3, d = 4 }, list = { 3 }, new = { y = 1 } }, answer:json())
    assert.same(answer:json(), read "patch":json())
    assert.equal(answer.headers.etag, read "patch".headers.etag)
    assert.equal(200, ask("PATCH", base .. "/patch", { "Content-Type: application/json" }, '{"id":"patch"}').status)
    assert.equal(200, ask("PATCH", base .. "/patch", nil, '{"z":1}').status)
    serving.problem(ask("PATCH", base .. "/patch", nil, '{"id":"other"}'), 422, "invalid")
    serving.problem(ask("PATCH", base .. "/patch", nil, '{"id":null}'), 422, "invalid")
    serving.problem(ask("PATCH", base .. "/nobody", nil, '{"a":1}'), 404, "not_found")
    serving.problem(ask("PATCH", base .. "/patch", nil, "[1]"), 422, "invalid")
    serving.problem(ask("PATCH", base .. "/patch", { "Content-Type: application/json-patch+json" }, "[]"), 415)
  end)

  it("deletes", function()
    create { id = "gone" }
    local answer = ask("DELETE", base .. "/gone")
    assert.same({ 204, "" }, { answer.status, answer.body })
    assert.equal(404, read "gone".status)
    serving.problem(ask("DELETE", base .. "/gone"), 404, "not_found")
    assert.equal(201, create { id = "gone" }.status)
  end)

  it("makes a trailing slash no difference, in its name and in requests", function()
    assert.equal(201, ask("POST", base .. "/", nil, '{"id":"slash"}').status)
    assert.equal(200, ask("GET", base .. "/?limit=1").status)
    assert.equal(200, read "slash/".status)
    assert.equal(200, ask("PUT", base .. "/slash/", nil, "{}").status)
    assert.equal(204, ask("DELETE", base .. "/slash/").status)
    local note = ask("POST", "/api/notes", nil, '{"id":"n"}')
    assert.same({ 201, "/api/notes/n" }, { note.status, note.headers.location })
    assert.equal(200, ask("GET", "/api/notes/n").status)
    assert.equal(200, ask("GET", "/api/notes").status)
    assert.equal(404, read "n".status) -- another collection
  end)

  it("takes any id, encoded in the path and in Location", function()
    local printable = {}
    for c = 0x20, 0x7e do printable[#printable + 1] = string.char(c) end
    for _, id in ipairs { "a/b", "ü ñ", "a?b#c", "100%", "..", "a+b", ";=&", "%2F", '"quoted"', ("i"):rep(255),
      table.concat(printable) } do
      local answer = create { id = id }
      assert.equal(201, answer.status, id)
      local location = answer.headers.location
      assert.equal(base .. "/" .. id:gsub("[^%w._~-]", function(c) return ("%%%02X"):format(c:byte()) end), location)
      assert.equal(id, ask("GET", location):json().id)
      assert.equal(204, ask("DELETE", location).status)
    end
    for _, id in ipairs { "a%00b", "%FF", "%0A", ("i"):rep(256) } do
      serving.problem(ask("PUT", base .. "/" .. id, nil, "{}"), 422, "invalid")
      serving.problem(read(id), 404, "not_found")
    end
  end)

  it("writes only what If-Match names", function()
    local first = create { id = "match", n = 1 }.headers.etag
    local second = ask("PUT", base .. "/match", { "If-Match: " .. first }, '{"n":2}').headers.etag
    assert.is_string(second)
    for _, stale in ipairs { first, '"0"', "W/" .. second, '"99999999999999999999"', '"x"' } do
      for method, body in pairs { PUT = '{"n":3}', PATCH = '{"n":3}', DELETE = false } do
        serving.problem(ask(method, base .. "/match", { "If-Match: " .. stale }, body or nil), 412, "conflict")
      end
    end
    assert.equal(2, read "match":json().n)
    local third = ask("PATCH", base .. "/match", { "If-Match: " .. first .. ", " .. second }, '{"n":3}')
    assert.equal(200, third.status)
    assert.equal(200, ask("PUT", base .. "/match", { "If-Match: *" }, '{"n":4}').status)
    assert.equal(412, ask("DELETE", base .. "/match", { "If-Match: " .. third.headers.etag }).status)
    assert.equal(204, ask("DELETE", base .. "/match", { "If-Match: " .. read "match".headers.etag }).status)
  end)

  it("If-Match of what is absent: 412 for PUT, 404 for PATCH and DELETE", function()
    for _, tag in ipairs { '"1"', "*" } do
      serving.problem(ask("PUT", base .. "/absent", { "If-Match: " .. tag }, "{}"), 412)
      serving.problem(ask("PATCH", base .. "/absent", { "If-Match: " .. tag }, "{}"), 404, "not_found")
      serving.problem(ask("DELETE", base .. "/absent", { "If-Match: " .. tag }), 404, "not_found")
    end
    assert.equal(404, read "absent".status)
  end)

  it("If-None-Match: * on PUT creates alone", function()
    assert.equal(201, ask("PUT", base .. "/only", { "If-None-Match: *" }, '{"n":1}').status)
    serving.problem(ask("PUT", base .. "/only", { "If-None-Match: *" }, '{"n":2}'), 412)
    assert.equal(1, read "only":json().n)
  end)

  it("lets one of many writers with the same version win", function()
    local tag = create { id = "race" }.headers.etag
    local clients, won = {}, 0
    for i = 1, 20 do clients[i] = server:connect() end
    for i, client in ipairs(clients) do
      local body = ('{"n":%d}'):format(i)
      client:send(("PUT %s/race HTTP/1.1\r\nHost: x\r\nIf-Match: %s\r\nContent-Length: %d\r\n\r\n%s"):format(base, tag,
        #body, body))
    end
    for _, client in ipairs(clients) do
      local status = assert(client:answer()).status
      assert.is_true(status == 200 or status == 412)
      if status == 200 then won = won + 1 end
    end
    assert.equal(1, won)
  end)

  it("waits for the disk where the client prefers it", function()
    for method, target in pairs { POST = base, PUT = base .. "/durable", PATCH = base .. "/durable-patch" } do
      create { id = "durable-patch" }
      local answer = ask(method, target, { "Prefer: durability=durable" }, '{"d":1}')
      assert.is_true(answer.status < 300)
      assert.matches("durability=durable", answer.headers["preference-applied"])
      assert.is_true(serving.dumped(server.db)["articles/" .. answer:json().id])
    end
    assert.matches("durability=durable", ask("DELETE", base .. "/durable",
      { "Prefer: durability=durable" }).headers["preference-applied"])
    assert.is_nil(create({ n = 1 }).headers["preference-applied"])
    assert.is_nil(create({ n = 1 }, { "Prefer: dance=tango, respond-async" }).headers["preference-applied"])
  end)

  it("waits for the disk where that is the database's default", function()
    local own = serving.start { arguments = "--durability durable --batch_size 500",
      app = [[local app, db = ...; app:resource("/c", db:collection "c")]] }
    for i = 1, 3 do
      assert.equal(201, own:ask("POST", "/c", nil, ('{"id":"x%d"}'):format(i)).status)
      assert.is_true(serving.dumped(own.db)["c/x" .. i])
    end
    assert.equal(0, own:stop())
  end)

  it("leaves the document out where the client prefers that", function()
    local minimal = { "Prefer: return=minimal" }
    local created = create({ id = "minimal" }, minimal)
    assert.same({ 201, "", base .. "/minimal" }, { created.status, created.body, created.headers.location })
    assert.is_number(created:version_tag())
    for method, body in pairs { PUT = '{"n":1}', PATCH = '{"n":2}' } do
      local answer = ask(method, base .. "/minimal", minimal, body)
      assert.same({ 204, "" }, { answer.status, answer.body })
      assert.is_number(answer:version_tag())
      assert.matches("return=minimal", answer.headers["preference-applied"])
    end
    local both = ask("PUT", base .. "/minimal", { "Prefer: return=minimal, durability=durable" }, '{"n":3}')
    assert.equal(204, both.status)
    assert.matches("return=minimal", both.headers["preference-applied"])
    assert.matches("durability=durable", both.headers["preference-applied"])
    local lines = ask("PUT", base .. "/minimal", { "Prefer: return=minimal", 'prefer: durability="durable"' }, '{"n":4}')
    assert.equal(204, lines.status)
    assert.matches("durability=durable", lines.headers["preference-applied"])
    assert.equal(200, ask("PUT", base .. "/minimal", { "Prefer: return=representation" }, "{}").status)
  end)

  it("refuses a body of another type", function()
    for _, kind in ipairs { "text/plain", "application/x-www-form-urlencoded", "application/jsonx", "text/json",
      "application/merge-patch+json" } do
      serving.problem(ask("POST", base, { "Content-Type: " .. kind }, "{}"), 415)
      if not kind:find "merge" then serving.problem(ask("PUT", base .. "/t", { "Content-Type: " .. kind }, "{}"), 415) end
    end
    for _, kind in ipairs { "application/json", "Application/JSON", "application/json; charset=utf-8",
      "application/json;charset=UTF-8" } do
      assert.equal(201, ask("POST", base, { "Content-Type: " .. kind }, "{}").status, kind)
    end
  end)

  it("refuses what is not JSON with 400, and JSON that is no document with 422", function()
    for _, text in ipairs { "", "{", "{}x", "nonsense", "{'a':1}", "\239\187\191{}", '{"a":"\\ud800"}', '{"a":"\255"}',
      "{}{}", '{"a":01}', "\0" } do
      serving.problem(ask("POST", base, nil, text), 400, "invalid")
      serving.problem(ask("PUT", base .. "/bad", nil, text), 400, "invalid")
      serving.problem(ask("PATCH", base .. "/read", nil, text), 400, "invalid")
    end
    local deep = '{"a":' .. ("["):rep(1000) .. ("]"):rep(1000) .. "}"
    for _, text in ipairs { "[]", "42", "null", '"text"', '{"id":""}', '{"id":7}', '{"id":null}', '{"id":"a\\u0000"}',
      '{"id":"a\\n"}', ('{"id":"%s"}'):format(("i"):rep(256)), deep } do
      serving.problem(ask("POST", base, nil, text), 422, "invalid")
    end
    assert.equal(404, read "bad".status)
  end)

  it("refuses what is too large", function()
    local document = ('{"id":"large","pad":"%s"}'):format(("p"):rep(20000))
    serving.problem(ask("POST", base, nil, document), 413)
    serving.problem(ask("PUT", base .. "/large", nil, document), 413)
    assert.equal(404, read "large".status)
    create { id = "grows", a = ("p"):rep(15000) }
    local grown = ask("PATCH", base .. "/grows", nil, ('{"b":"%s"}'):format(("p"):rep(15000)))
    assert.is_true(grown.status == 413 or grown.status == 422)
    assert.is_nil(read "grows":json().b)
  end)

  it("is read by other routes beside it", function()
    create { id = "titled", title = "Hello" }
    assert.equal('{"title":"Hello"}', read "titled/title".body)
    assert.equal(404, read "nobody/title".status)
  end)

  it("of a database opened read-only refuses writes", function()
    local path = workspace.path()
    do
      local db <close> = assert(require "tidemark".open(path))
      assert(db:collection "c":create { id = "x" })
    end
    local own = serving.start { db = path, arguments = "--read-only",
      app = [[local app, db = ...; app:resource("/c", db:collection "c")]] }
    assert.equal("x", own:ask("GET", "/c/x"):json().id)
    serving.problem(own:ask("POST", "/c", nil, "{}"), 403, "read_only")
    serving.problem(own:ask("PUT", "/c/x", nil, "{}"), 403, "read_only")
    serving.problem(own:ask("PATCH", "/c/x", nil, "{}"), 403, "read_only")
    serving.problem(own:ask("DELETE", "/c/x"), 403, "read_only")
    assert.equal(0, own:stop())
  end)
end)
