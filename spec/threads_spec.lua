local tidemark = require "tidemark"
local workspace = require "spec.support.workspace"

describe("threads", function()
  after_each(workspace.clean)

  it("give back what each chunk returned", function()
    local results = assert(tidemark.threads(3, function(index, text, list)
      return index, text .. index, nil, { list[1] + index, { deep = 1.5 } }, true
    end, "t", { 10 }))
    assert.equal(3, #results)
    for i = 1, 3 do
      assert.equal(5, results[i].n)
      assert.same({ i, "t" .. i, nil, { 10 + i, { deep = 1.5 } }, true, n = 5 }, results[i])
    end
    assert.same({ { n = 0 } }, tidemark.threads(1, ""))
    assert.equal(package.path, tidemark.threads(1, "return package.path")[1][1])
    assert.equal("0.1.0", tidemark.threads(1, 'return require "tidemark".version')[1][1])
  end)

  it("tell an error with its traceback", function()
    for _, chunk in ipairs { "error 'oops'", "error { oops = 1 }", "local x = nil + 1", "this is no Lua",
      "return function() end" } do
      local ok, message, code = tidemark.threads(2, chunk)
      assert.is_nil(ok)
      assert.is_string(message)
      assert.equal("script", code)
    end
    local _, message = tidemark.threads(1, "error 'oops'")
    assert.matches("oops", message)
    assert.matches("traceback", message)
  end)

  it("raise for upvalues and what can't be copied", function()
    local upvalue = 1
    assert.has_error(function() tidemark.threads(1, function() return upvalue end) end)
    assert.has_error(function() tidemark.threads(1, print) end)
    assert.has_error(function() tidemark.threads(1, "", print) end)
    assert.has_error(function() tidemark.threads(0, "") end)
    assert.has_error(function() tidemark.threads(1) end)
    local cycle = {}
    cycle[1] = cycle
    assert.has_error(function() tidemark.threads(1, "", cycle) end)
  end)

  it("lose no update with if_version, and read no torn document", function()
    local path = workspace.path()
    local db <close> = assert(tidemark.open(path))
    local c = db:collection "counters"
    for i = 1, 10 do assert(c:create { id = "c" .. i, n = 0, sum = 0, pad = "" }) end
    local rounds = tonumber(os.getenv "TIDEMARK_ROUNDS") or 500
    local results = assert(tidemark.threads(8, function(index, directory, count)
      local t = require "tidemark"
      local own <close> = assert(t.open(directory))
      local counters = own:collection "counters"
      local conflicts, done = 0, 0
      while done < count do
        local id = "c" .. (done + index) % 10 + 1
        local document, version = counters:get(id)
        if document.sum ~= document.n * 7 or #document.pad ~= document.n % 300 then error "a torn read" end
        if index <= 6 then
          local n = document.n + 1
          local ok, message, code = counters:put({ id = id, n = n, sum = n * 7, pad = ("p"):rep(n % 300) },
            { if_version = version })
          if ok then
            done = done + 1
          elseif code == "conflict" then
            conflicts = conflicts + 1
          else
            error(message)
          end
        else
          local seen = 0
          for _, other in counters:each "c" do
            if other.sum ~= other.n * 7 then error "a torn read in each" end
            seen = seen + 1
          end
          if seen ~= 10 then error("each gave " .. seen) end
          counters:create { id = "new-" .. index .. "-" .. done } -- growth during iteration
          done = done + 1
        end
      end
      return conflicts
    end, path, rounds))
    assert.equal(8, #results)
    local total = 0
    for i = 1, 10 do total = total + c:get("c" .. i).n end
    assert.equal(6 * rounds, total)
    assert(db:flush())
    local last = 0
    for event in db:events() do
      assert.equal(last + 1, event.seq)
      last = event.seq
    end
    assert.equal(10 + 8 * rounds, last)
  end)

  it("end with closed when the database is closed while they wait", function()
    local path = workspace.path()
    local results = assert(tidemark.threads(4, function(index, directory)
      local t = require "tidemark"
      local db = assert(t.open(directory, { sync = "none", flush_interval_ms = 1000 }))
      local c = db:collection "c"
      for i = 1, 200 do assert(c:create({ i = i }, { durability = i % 50 == 0 and "durable" or nil })) end
      assert(db:close())
      return index
    end, path))
    assert.equal(4, #results)
    local db <close> = assert(tidemark.open(path))
    assert.equal(800, #db:collection "c")
  end)
end)
