local cjson = require "cjson"
local serving = require "spec.support.serving"

-- The list of a resource, page after page.
describe("the list of a resource", function()
  local server, client

  setup(function()
    server = serving.start { app = [[
      local app, db = ...
      for i = 1, 250 do assert(db:collection "many":create { id = "m" .. i, n = i }) end
      for i = 1, 100 do assert(db:collection "busy":create { id = "b" .. i }) end
      assert(db:collection "odd":create { id = "a/b ü" })
      for _, name in ipairs { "many", "busy", "odd", "none" } do app:resource("/" .. name, db:collection(name)) end]] }
    client = server:connect()
  end)
  teardown(serving.clean)

  local function escaped(text)
    return (text:gsub("[^%w%-._~]", function(c) return ("%%%02X"):format(c:byte()) end))
  end

  local function next_link(answer)
    return (answer.headers.link or ""):match '<([^>]*)>; *rel="?next"?'
  end

  -- Walks the pages by `next` or by Link; calls `page` before each; how often each id came.
  local function walk(target, limit, by_link, page)
    local seen, pages, at = {}, 0, ("%s?limit=%d"):format(target, limit)
    repeat
      if page then page(pages) end
      local answer = client:ask("GET", at)
      assert.equal(200, answer.status, answer.body)
      local list = answer:json()
      assert.is_true(#list.items <= limit)
      for _, document in ipairs(list.items) do seen[document.id] = (seen[document.id] or 0) + 1 end
      pages = pages + 1
      assert.is_true(pages < 2000)
      at = nil
      if list.next ~= cjson.null then
        assert.is_string(list.next)
        at = by_link and next_link(answer) or ("%s?limit=%d&after=%s"):format(target, limit, escaped(list.next))
        assert.is_string(next_link(answer))
      else
        assert.is_nil(next_link(answer))
      end
    until not at
    return seen, pages
  end

  it("gives each document exactly once, by the cursor and by Link", function()
    for _, limit in ipairs { 1, 7, 100, 249, 250, 251, 1000 } do
      for _, by_link in ipairs { false, true } do
        local seen = walk("/many", limit, by_link)
        local count = 0
        for _, times in pairs(seen) do
          assert.equal(1, times)
          count = count + 1
        end
        assert.equal(250, count)
      end
    end
  end)

  it("is an object with items and next, 100 at a time", function()
    local answer = client:ask("GET", "/many")
    assert.equal("application/json", answer.headers["content-type"])
    assert.equal(100, #answer:json().items)
    assert.is_number(answer:json().items[1].n)
    assert.same({ "items", "next" }, (function()
      local names = {}
      for name in pairs(answer:json()) do names[#names + 1] = name end
      table.sort(names)
      return names
    end)())
    local empty = client:ask("GET", "/none")
    assert.truthy(empty.body:find('"items":[]', 1, true))
    assert.truthy(empty.body:find('"next":null', 1, true))
    assert.is_nil(empty.headers.link)
    assert.equal("a/b ü", client:ask("GET", "/odd"):json().items[1].id)
    local head = client:ask("HEAD", "/many?limit=3")
    assert.same({ 200, "" }, { head.status, head.body })
  end)

  it("takes limits from 1 to 1000", function()
    for _, limit in ipairs { "0", "1001", "-1", "x", "", "1.5", "99999999999999999999", "1e2", "%31x" } do
      serving.problem(client:ask("GET", "/many?limit=" .. limit), 400)
    end
    assert.equal(250, #client:ask("GET", "/many?limit=1000"):json().items)
    assert.equal(1, #client:ask("GET", "/many?limit=1"):json().items)
  end)

  it("refuses a cursor that it did not give", function()
    for _, cursor in ipairs { "nonsense", "%00", "-1", ("9"):rep(40), "%FF%FE" } do
      serving.problem(client:ask("GET", "/many?after=" .. cursor), 400)
    end
  end)

  it("comes to no harm by a cursor made up of one that it gave", function()
    local tag, place, hash = client:ask("GET", "/many?limit=1"):json().next:match "^(%x+)%-(%x+)%-(%x+)$"
    for _, shard in ipairs { "40", "ff", "3ff", "ffff", "ffffffff" } do -- a cursor's first part is its shard
      local answer = client:ask("GET", ("/many?after=%s-%s-%s"):format(tag, shard, hash))
      assert.equal(200, answer.status)
    end
    assert.same({}, client:ask("GET", ("/many?after=%s-ffffffff-0"):format(tag)):json().items)
    local rest = client:ask("GET", ("/many?limit=1000&after=%s-%s-%s"):format(tag, place, hash)):json().items
    assert.equal(249, #rest)
  end)

  it("gives what exists throughout exactly once while others come and go", function()
    local writer = server:connect()
    local seen = walk("/busy", 9, false, function(page)
      for i = 1, 40 do
        local status = writer:ask("PUT", ("/busy/new-%d-%d"):format(page, i), nil, "{}").status
        assert.equal(201, status)
      end
      for i = 1, 40 do assert.equal(204, writer:ask("DELETE", ("/busy/new-%d-%d"):format(page, i)).status) end
      assert.equal(200, writer:ask("PATCH", "/busy/b1", nil, ('{"page":%d}'):format(page)).status)
    end)
    for i = 1, 100 do assert.equal(1, seen["b" .. i], "b" .. i) end
    for id, times in pairs(seen) do assert.equal(1, times, id) end
  end)

  it("goes on while the collection grows", function()
    local writer, added = server:connect(), 0
    local seen = walk("/busy", 10, true, function()
      for _ = 1, 300 do
        if added >= 3000 then break end
        added = added + 1
        writer:send(("PUT /busy/grown-%d HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"):format(added))
        assert.equal(201, assert(writer:answer()).status)
      end
    end)
    for i = 1, 100 do assert.equal(1, seen["b" .. i], "b" .. i) end
    for id, times in pairs(seen) do assert.equal(1, times, id) end
  end)
end)
