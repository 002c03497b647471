local tidemark = require "tidemark"
local workspace = require "spec.support.workspace"

describe("a collection", function()
  local db, articles, path
  before_each(function()
    path = workspace.path()
    db = assert(tidemark.open(path))
    articles = db:collection "articles"
  end)
  after_each(function()
    db:close()
    workspace.clean()
  end)

  local function code_of(...)
    local ok, message, code = ...
    assert.is_nil(ok)
    assert.is_string(message)
    return code, message
  end

  it("creates with a UUIDv7 where there is no id", function()
    local id, version = assert(articles:create { title = "Hello" })
    assert.matches("^%x%x%x%x%x%x%x%x%-%x%x%x%x%-7%x%x%x%-[89ab]%x%x%x%-%x+$", id)
    assert.equal(36, #id)
    assert.equal(1, version)
    assert.same({ id = id, title = "Hello" }, (articles:get(id)))
    assert.equal(1, (select(2, articles:get(id))))
  end)

  it("creates with the document's id, from a table or a text", function()
    assert.equal("a", (articles:create { id = "a" }))
    assert.equal("b", (articles:create '{"id": "b", "n": [1, 2]}'))
    assert.equal('{"id":"b","n":[1,2]}', (articles:get_json "b"))
    local text = articles:create "{}"
    assert.same({ id = text }, (articles:get(text)))
    local code, message = code_of(articles:create { id = "a" })
    assert.equal("exists", code)
    assert.matches("articles/a", message, 1, true)
    assert.equal("exists", (code_of(articles:create({ id = "a" }, { if_version = 0 }))))
  end)

  it("puts: creates or replaces", function()
    local version, created = assert(articles:put { id = "a", n = 1 })
    assert.is_true(created)
    local second, again = assert(articles:put { id = "a", m = 2 })
    assert.is_false(again)
    assert.is_true(second > version)
    assert.same({ id = "a", m = 2 }, (articles:get "a"))
    assert.equal("invalid", (code_of(articles:put { n = 1 })))
  end)

  it("updates by JSON merge patch", function()
    assert(articles:create { id = "a", title = "t", tags = { "x", "y" }, author = { name = "n", mail = "m" }, z = -0.0 })
    assert(articles:update("a", { title = "u", tags = { "z" }, author = { mail = tidemark.null }, new = { x = tidemark.null } }))
    local article = articles:get "a"
    assert.same({ id = "a", title = "u", tags = { "z" }, author = { name = "n" }, new = {}, z = 0.0 }, article)
    assert.equal("-0.0", tostring(article.z))
    assert(articles:update("a", '{"id":"a","title":null}'))
    assert.is_nil(articles:get "a".title)
    assert.equal("invalid", (code_of(articles:update("a", { id = "b" }))))
    assert.equal("invalid", (code_of(articles:update("a", { id = tidemark.null }))))
    assert.equal("not_found", (code_of(articles:update("nope", {}))))
    assert.equal("not_found", (code_of(articles:update("nope", {}, { if_version = 7 }))))
  end)

  it("merges the examples of RFC 7396", function()
    local examples = {
      { '{"a":"b"}', '{"a":"c"}', '{"a":"c"}' }, { '{"a":"b"}', '{"b":"c"}', '{"a":"b","b":"c"}' },
      { '{"a":"b"}', '{"a":null}', "{}" }, { '{"a":"b","b":"c"}', '{"a":null}', '{"b":"c"}' },
      { '{"a":["b"]}', '{"a":"c"}', '{"a":"c"}' }, { '{"a":"c"}', '{"a":["b"]}', '{"a":["b"]}' },
      { '{"a":{"b":"c"}}', '{"a":{"b":"d","c":null}}', '{"a":{"b":"d"}}' },
      { '{"a":[{"b":"c"}]}', '{"a":[1]}', '{"a":[1]}' }, { '{"e":null}', '{"a":1}', '{"e":null,"a":1}' },
      { "{}", '{"a":{"bb":{"ccc":null}}}', '{"a":{"bb":{}}}' },
      { '{"a":1,"a":2}', '{"b":3,"b":4}', '{"a":2,"b":4}' },
      { '{"caf\\u00e9":1,"x":2}', '{"café":null}', '{"x":2}' },
      { '{"a\\ud83d\\ude00\\n":1}', '{"a😀\\n":{"b":1}}', '{"a\\ud83d\\ude00\\n":{"b":1}}' },
    }
    for i, example in ipairs(examples) do
      local id = "example-" .. i
      local function with_id(text) return (text:gsub("^{", '{"id":"' .. id .. '"' .. (text == "{}" and "" or ","))) end
      assert(articles:create(with_id(example[1])))
      assert(articles:update(id, example[2]))
      assert.equal(with_id(example[3]), (articles:get_json(id)))
    end
  end)

  it("deletes, and the id can be used again", function()
    assert(articles:create { id = "a" })
    local version = assert(articles:delete "a")
    assert.equal(2, version)
    assert.is_nil(articles:get "a")
    assert.is_nil(articles:get_json "a")
    assert.is_false(articles:has "a")
    assert.equal("not_found", (code_of(articles:delete "a")))
    assert.equal("not_found", (code_of(articles:delete("a", { if_version = 1 }))))
    assert(articles:create { id = "a" })
    assert.is_true(articles:has "a")
  end)

  it("writes only over the version asked for", function()
    local _, version = assert(articles:create { id = "a", n = 0 })
    local second = assert(articles:update("a", { n = 1 }, { if_version = version }))
    local code, message = code_of(articles:update("a", { n = 2 }, { if_version = version }))
    assert.equal("conflict", code)
    assert.matches("articles/a", message, 1, true)
    assert.equal("conflict", (code_of(articles:put({ id = "a" }, { if_version = version }))))
    assert.equal("conflict", (code_of(articles:put({ id = "a" }, { if_version = 0 }))))
    assert.equal("conflict", (code_of(articles:delete("a", { if_version = version }))))
    assert.equal(1, articles:get "a".n)
    assert(articles:put({ id = "b" }, { if_version = 0 }))
    assert(articles:delete("a", { if_version = second }))
  end)

  it("gets many at once, false where absent", function()
    local ids, expected = {}, {}
    for i = 1, 100 do
      ids[i] = "id-" .. i
      if i % 3 == 0 then
        expected[i] = false
      else
        expected[i] = { id = ids[i], n = i }
        assert(articles:create(expected[i]))
      end
    end
    assert.same(expected, articles:get_many(ids))
    assert.same({}, articles:get_many {})
    assert.has_error(function() articles:get_many { "a", 2 } end)
  end)

  it("iterates over each document once, while it changes", function()
    for i = 1, 3000 do assert(articles:create { id = ("%05d"):format(i), n = i }) end
    local seen, count = {}, 0
    for id, document, version in articles:each() do
      if #id == 5 then
        assert.is_nil(seen[id])
        seen[id] = true
        assert.equal(tonumber(id), document.n)
        assert.equal(tonumber(id), version)
        count = count + 1
      end
      assert(articles:create { id = "new-" .. id })
      if count > 20000 then break end
    end
    assert.equal(3000, count)
    count = 0
    for id in articles:each "0001" do
      assert.matches("^0001", id)
      count = count + 1
    end
    assert.equal(10, count)
  end)

  it("survives an iteration that is abandoned, also in a coroutine", function()
    for i = 1, 200 do assert(articles:create { n = i }) end
    for _ in articles:each() do break end
    local thread = coroutine.wrap(function()
      for id in articles:each() do coroutine.yield(id) end
    end)
    assert.is_string(thread())
    thread = nil
    collectgarbage()
    local next_document, state, control, closing = articles:each()
    local _ = closing
    db:close()
    assert.has_error(function() next_document(state, control, closing) end)
    closing = nil
    collectgarbage()
  end)

  it("has a name, a length and a count", function()
    assert(articles:create {})
    assert.equal("articles", articles.name)
    assert.equal(1, #articles)
    assert.equal(1, articles:count())
    assert.equal("tidemark.collection (articles)", tostring(articles))
    assert.is_nil(articles.nothing)
  end)

  it("refuses names and ids that it can't store", function()
    for _, name in ipairs { "", ("x"):rep(65), "a b", "ä", "a/b", "a\0" } do
      assert.has_error(function() db:collection(name) end)
    end
    assert.equal(("x"):rep(64), db:collection(("x"):rep(64)).name)
    for _, id in ipairs { "", ("x"):rep(256), "a\nb", "a\127", "a\0", "\xff" } do
      assert.equal("invalid", (code_of(articles:create { id = id })))
      assert.equal("invalid", (code_of(articles:put { id = id })))
      assert.is_nil(articles:get(id))
      assert.is_false(articles:has(id))
      assert.equal("not_found", (code_of(articles:delete(id))))
    end
    assert(articles:create { id = ("x"):rep(255) })
    assert.equal("invalid", (code_of(articles:create { id = 7 })))
    assert.equal("invalid", (code_of(articles:create '{"id":null}')))
  end)

  it("raises for wrong calls, naming the argument", function()
    local function raises(pattern, call, ...)
      local ok, message = pcall(call, ...)
      assert.is_false(ok)
      assert.matches(pattern, message)
    end
    raises("table or JSON text expected", articles.create, articles, 7)
    raises("unknown option 'foo'", articles.create, articles, {}, { foo = 1 })
    raises("if_version", articles.put, articles, { id = "a" }, { if_version = -1 })
    raises("if_version", articles.put, articles, { id = "a" }, { if_version = 1.5 })
    raises("if_version", articles.create, articles, { id = "a" }, { if_version = 1 })
    raises("durability: one of accepted, durable", articles.delete, articles, "a", { durability = "x" })
    raises("timeout_ms", articles.delete, articles, "a", { timeout_ms = "1" })
    raises("string expected", articles.get, articles)
    raises("string expected", articles.get, articles, {})
    raises("tidemark.collection expected", articles.get, {}, "a")
    raises("tidemark.collection expected", articles.create, db, {})
    raises("tidemark.collection expected", articles.each, io.stdout)
    raises("tidemark.database expected", db.flush, articles)
    raises("tidemark.database expected", db.snapshot, articles)
    raises("tidemark.scan expected", articles:each(), articles)
    db:close()
    raises("closed", articles.get, articles, "a")
    raises("closed", articles.create, articles, {})
    assert.equal("tidemark.collection (closed)", tostring(articles))
  end)

  it("stays usable after errors in the middle of a document", function()
    local cycle = {}
    cycle.self = cycle
    local bad = { cycle, { f = print }, { n = 0 / 0 }, { n = 1 / 0 }, { [true] = 1 }, { c = coroutine.create(print) } }
    for _, document in ipairs(bad) do
      assert.has_error(function() articles:create(document) end)
    end
    local proxy = setmetatable({ a = 1 }, { __index = function() error "no" end, __pairs = function() error "no" end })
    local id = assert(articles:create(proxy))
    assert.equal(1, articles:get(id).a)
    assert.equal(1, #articles)
  end)
end)
