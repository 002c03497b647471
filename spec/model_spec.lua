local tidemark = require "tidemark"
local workspace = require "spec.support.workspace"

-- Random calls against a plain table. TIDEMARK_SEED=n repeats a run.
describe("the model", function()
  after_each(workspace.clean)

  it("agrees with the database over random calls and reopening", function()
    local seed = tonumber(os.getenv "TIDEMARK_SEED") or os.time()
    print("\nmodel: TIDEMARK_SEED=" .. seed)
    math.randomseed(seed)
    local path = workspace.path()
    local options = { batch_size = math.random(1, 50), segment_bytes = 1 << 20, flush_interval_ms = 5 }
    local db = assert(tidemark.open(path, options))
    local model, versions, history, events = {}, {}, {}, 0
    local function key() return "id-" .. math.random(200) end
    local function document(id)
      return { id = id, n = math.random(1000), pad = ("p"):rep(math.random(0, 3000)), list = { math.random(9) } }
    end
    local function record(id, version, kind)
      events = events + 1
      assert.equal(events, version)
      versions[id] = kind ~= "deleted" and version or nil
      history[id] = history[id] or {}
      table.insert(history[id], version .. kind)
    end
    local calls = {
      function(c)
        local id = key()
        local doc = document(id)
        local got, version, code = c:create(doc)
        if model[id] then
          assert.equal("exists", code)
        else
          assert.equal(id, got)
          model[id] = doc
          record(id, version, "created")
        end
      end,
      function(c)
        local id = key()
        local doc = document(id)
        local version, created = assert(c:put(doc))
        assert.equal(model[id] == nil, created)
        record(id, version, created and "created" or "updated")
        model[id] = doc
      end,
      function(c)
        local id = key()
        local version, _, code = c:update(id, { n = -1, pad = tidemark.null, extra = "e" })
        if not model[id] then return assert.equal("not_found", code) end
        model[id] = { id = id, n = -1, extra = "e", list = model[id].list }
        record(id, version, "updated")
      end,
      function(c)
        local id = key()
        local wanted = math.random(2) == 1 and versions[id] or math.random(events + 1)
        local version, _, code = c:delete(id, { if_version = wanted })
        if not model[id] then return assert.equal("not_found", code) end
        if wanted ~= versions[id] then return assert.equal("conflict", code) end
        model[id] = nil
        record(id, version, "deleted")
      end,
      function(c)
        local id = key()
        local doc, version = c:get(id)
        assert.same(model[id], doc)
        assert.equal(versions[id], version)
      end,
    }
    local function check(c)
      local count = 0
      for id, doc, version in c:each() do
        assert.same(model[id], doc)
        assert.equal(versions[id], version)
        count = count + 1
      end
      local expected = 0
      for _ in pairs(model) do expected = expected + 1 end
      assert.equal(expected, count)
      assert.equal(expected, #c)
      local id = key()
      assert(db:flush())
      local found = {}
      for event in db:events { collection = "c", id = id } do found[#found + 1] = event.seq .. event.type end
      assert.same(history[id] or {}, found)
    end
    for i = 1, tonumber(os.getenv "TIDEMARK_ROUNDS") or 4000 do
      local c = db:collection "c"
      calls[math.random(#calls)](c)
      if i % 500 == 0 then check(c) end
      if math.random(400) == 1 then
        assert(db:close())
        db = assert(tidemark.open(path, options))
        check(db:collection "c")
      end
    end
    db:close()
  end)
end)
