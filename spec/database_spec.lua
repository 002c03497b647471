local tidemark = require "tidemark"
local workspace = require "spec.support.workspace"

local function raises(pattern, call, ...)
  local ok, message = pcall(call, ...)
  assert.is_false(ok)
  assert.matches(pattern, message)
end

describe("opening", function()
  after_each(workspace.clean)

  it("creates the directory and its parents", function()
    local path = workspace.path() .. "/a/b/c"
    local db <close> = assert(tidemark.open(path))
    assert.equal("tidemark.database (" .. path .. ")", tostring(db))
    assert.equal(0, db:watermarks().accepted)
    assert.equal("0.1.0", tidemark.version)
  end)

  it("gives the same engine for the same directory, however it is spelled", function()
    local path = workspace.path()
    local first = assert(tidemark.open(path, { batch_size = 10 }))
    local second <close> = assert(tidemark.open(path .. "/../db/."))
    assert(first:collection "a":create { id = "x" })
    assert.is_true(second:collection "a":has "x")
    assert.is_true(first:close())
    assert.is_true(first:close())
    assert(second:collection "a":create { id = "y" })
    local db, message, code = tidemark.open(path, { batch_size = 11 })
    assert.is_nil(db)
    assert.equal("invalid", code)
    assert.matches("batch_size", message)
    local third <close> = assert(tidemark.open(path, { batch_size = 10 }))
    assert.equal(2, #third:collection "a")
    local reader, _, reader_code = tidemark.open(path, { read_only = true })
    assert.is_nil(reader)
    assert.equal("invalid", reader_code)
  end)

  it("does not take a directory for one that was read here and removed", function()
    local path = workspace.path()
    local readers = {}
    for i = 1, 5 do -- the system likes to give a new directory the inode of a removed one
      local db = assert(tidemark.open(path))
      assert(db:collection "a":create { id = "x" .. i })
      assert(db:close())
      readers[i] = assert(tidemark.open(path, { read_only = true }))
      assert.is_true(readers[i]:collection "a":has("x" .. i))
      assert(os.execute("rm -r " .. path))
    end
    for _, reader in ipairs(readers) do assert.is_true(reader:close()) end
  end)

  it("keeps everything over closing and opening", function()
    local path = workspace.path()
    do
      local db <close> = assert(tidemark.open(path))
      for i = 1, 2500 do assert(db:collection "a":create { id = "x" .. i, n = i }) end
      assert(db:collection "b":put { id = "other" })
    end
    local db <close> = assert(tidemark.open(path))
    assert.equal(2500, #db:collection "a")
    for i = 1, 2500 do
      local document, version = db:collection "a":get("x" .. i)
      assert.same({ id = "x" .. i, n = i }, document)
      assert.equal(i, version)
    end
    assert.equal(2501, (assert(db:flush())))
    assert.equal(2501, db:stats().recovered_events)
  end)

  it("takes every option at its limits and raises beyond", function()
    local limits = {
      batch_size = { 1, 1000000 }, flush_interval_ms = { 1, 86400000 }, batch_bytes_max = { 4096, 1 << 30 },
      pending_bytes_max = { 65536, 64 << 30 }, sync_interval_ms = { 1, 86400000 }, timeout_ms = { 1 },
      segment_bytes = { 1 << 20, 1 << 40 }, document_bytes_max = { 2, 1 << 30 }, snapshot_log_bytes = { 1 << 20 },
    }
    for name, range in pairs(limits) do
      raises(name, tidemark.open, workspace.path(), { [name] = range[1] - 1 })
      if range[2] then raises(name, tidemark.open, workspace.path(), { [name] = range[2] + 1 }) end
      raises(name, tidemark.open, workspace.path(), { [name] = 10.5 })
      raises(name, tidemark.open, workspace.path(), { [name] = "10" })
      for _, value in ipairs { range[1], name ~= "segment_bytes" and range[2] or nil } do
        local db <close> = assert(tidemark.open(workspace.path(), { [name] = value }))
        if name ~= "document_bytes_max" then
          local c = db:collection "c"
          for i = 1, 50 do assert(c:create { n = i }) end
          assert.equal(50, (assert(db:flush())))
        end
      end
    end
    for _, sync in ipairs { "batch", "interval", "none" } do
      for _, durability in ipairs { "accepted", "durable" } do
        local db <close> = assert(tidemark.open(workspace.path(), { sync = sync, durability = durability }))
        assert(db:collection "c":create {})
        if durability == "durable" then assert.equal(1, db:watermarks().durable) end
      end
    end
    raises("sync: one of batch, interval, none", tidemark.open, workspace.path(), { sync = "x" })
    raises("durability", tidemark.open, workspace.path(), { durability = 1 })
    raises("read_only", tidemark.open, workspace.path(), { read_only = 1 })
    raises("unknown option 'bach_size'", tidemark.open, workspace.path(), { bach_size = 1 })
    raises("path", tidemark.open, "")
    raises("string expected", tidemark.open)
    raises("zero byte", tidemark.open, "a\0b")
  end)

  it("says what is in the way", function()
    local path = workspace.path()
    workspace.write(path, "I am a file")
    local db, message, code = tidemark.open(path)
    assert.is_nil(db)
    assert.equal("io", code)
    assert.truthy(message:find(path, 1, true))
    db, message, code = tidemark.open(path .. "/below")
    assert.is_nil(db)
    assert.equal("io", code)
    assert.truthy(message:find(path, 1, true))
  end)

  it("read only: changes nothing, and needs a directory", function()
    local path = workspace.path()
    local db, _, code = tidemark.open(path, { read_only = true })
    assert.is_nil(db)
    assert.equal("not_found", code)
    do
      local writer <close> = assert(tidemark.open(path))
      assert(writer:collection "a":create { id = "x" })
    end
    workspace.run("rm -f " .. path .. "/lock && chmod -w " .. path)
    do
      local reader <close> = assert(tidemark.open(path, { read_only = true }))
      local a = reader:collection "a"
      assert.is_true(a:has "x")
      for _, call in ipairs { function() return a:create {} end, function() return a:put { id = "x" } end,
        function() return a:update("x", {}) end, function() return a:delete "x" end,
        function() return reader:flush() end } do
        local ok, _, call_code = call()
        assert.is_nil(ok)
        assert.equal("read_only", call_code)
      end
    end
    local files = workspace.run("ls " .. path)
    assert.equal("events.raftlog\n", files)
  end)

  it("is refused while another process has the directory; reading isn't", function()
    local path = workspace.path()
    local db <close> = assert(tidemark.open(path))
    assert(db:collection "a":create { id = "x" })
    assert(db:flush())
    local out = workspace.lua([[
      local tidemark = require "tidemark"
      print(select(3, tidemark.open(arg[1])))
      local reader <close> = assert(tidemark.open(arg[1], { read_only = true }))
      print(reader:collection "a":has "x")]], path)
    assert.equal("locked\ntrue\n", out)
  end)

  it("flushes at the end of the process, through os.exit(code, true) and at the end of the script", function()
    for _, ending in ipairs { "os.exit(0, true)", "" } do
      local path = workspace.path()
      workspace.lua('db = assert(require "tidemark".open(arg[1])); db:collection "a":create { id = "x" } ' .. ending, path)
      local db <close> = assert(tidemark.open(path))
      assert.is_true(db:collection "a":has "x")
    end
  end)
end)

describe("watermarks", function()
  local db, path
  before_each(function()
    path = workspace.path()
    db = assert(tidemark.open(path, { flush_interval_ms = 86400000, batch_size = 1000000 }))
  end)
  after_each(function()
    db:close()
    workspace.clean()
  end)

  it("rise from accepted to written to durable", function()
    local c = db:collection "c"
    assert(c:create {})
    local marks = db:watermarks()
    assert.equal(1, marks.accepted)
    assert.is_true(marks.durable <= marks.written and marks.written <= marks.accepted)
    assert.equal(1, (assert(db:flush())))
    assert.same({ accepted = 1, written = 1, durable = 1 }, db:watermarks())
    assert(c:create({}, { durability = "durable" }))
    assert.equal(2, db:watermarks().durable)
    local _, version = c:create {}
    assert.is_true(db:wait(version, "written"))
    assert.is_true(db:watermarks().written >= version)
    assert.is_true(db:wait(version))
    assert.equal(3, db:watermarks().durable)
    assert.is_true(db:wait(0))
  end)

  it("wait only for what was accepted", function()
    local ok, message, code = db:wait(7)
    assert.is_nil(ok)
    assert.equal("invalid", code)
    assert.matches("7", message)
    raises("level", db.wait, db, 0, "x")
    raises("seq", db.wait, db, "x")
    raises("timeout_ms", db.flush, db, -1)
  end)

  it("are told in figures", function()
    local c = db:collection "c"
    for _ = 1, 10 do assert(c:create { body = ("x"):rep(1000) }) end
    assert(db:flush())
    local stats = db:stats()
    for name, value in pairs(stats) do
      assert.is_string(name)
      assert.equal("integer", math.type(value))
    end
    assert.equal(10, stats.documents)
    assert.equal(10, stats.events_written)
    assert.equal(0, stats.pending_bytes)
    assert.is_true(stats.log_bytes > 10000)
    assert.is_true(stats.batches >= 1 and stats.syncs >= 1)
    for _, name in ipairs { "log_bytes", "batches", "syncs", "pending_bytes", "documents", "recovery_ms" } do
      assert.is_number(stats[name])
    end
  end)
end)

describe("events", function()
  local db, a, b
  before_each(function()
    db = assert(tidemark.open(workspace.path(), { segment_bytes = 1 << 20, batch_size = 7 }))
    a, b = db:collection "a", db:collection "b"
    assert(a:create { id = "x", n = 1 })
    assert(b:create { id = "x", n = 2 })
    assert(a:update("x", { m = 3 }))
    assert(a:delete "x")
    assert(a:create { id = "x", n = 4 })
    assert(a:create { id = "y", n = 5 })
    assert(db:flush())
  end)
  after_each(function()
    db:close()
    workspace.clean()
  end)

  local function list(filter)
    local found = {}
    for event in db:events(filter) do found[#found + 1] = event end
    return found
  end

  it("come in seq order, with the whole document after the change", function()
    local found = list()
    assert.equal(6, #found)
    local last = 0
    for i, event in ipairs(found) do
      assert.equal(i, event.seq)
      assert.is_true(event.time_us >= last)
      last = event.time_us
    end
    assert.same({ "created", "created", "updated", "deleted", "created", "created" }, { found[1].type, found[2].type,
      found[3].type, found[4].type, found[5].type, found[6].type })
    assert.same({ id = "x", n = 1, m = 3 }, found[3].document)
    assert.is_nil(found[4].document)
    assert.equal("a", found[3].collection)
    assert.equal("x", found[3].id)
    assert.is_true(math.abs(found[1].time_us / 1e6 - os.time()) < 3600)
  end)

  it("can be chosen by seq, collection and document", function()
    assert.equal(2, #list { from = 5 })
    assert.equal(3, #list { from = 2, to = 4 })
    assert.equal(0, #list { from = 4, to = 3 })
    assert.equal(0, #list { from = 100 })
    assert.equal(1, #list { collection = "b" })
    local history = list { collection = "a", id = "x" }
    assert.equal(4, #history)
    assert.same({ 1, 3, 4, 5 }, { history[1].seq, history[2].seq, history[3].seq, history[4].seq })
    assert.equal(2, #list { collection = "a", id = "x", from = 2, to = 4 })
    assert.equal(0, #list { collection = "a", id = "nope" })
    assert.equal(0, #list { collection = "nope" })
    raises("unknown option", db.events, db, { form = 1 })
    raises("id", db.events, db, { id = "x" })
    raises("from", db.events, db, { from = "1" })
    raises("collection", db.events, db, { collection = "a b" })
  end)

  it("end with the iterator, the loop or the database", function()
    for _ in db:events() do break end
    local next_event, state, control = db:events()
    assert.is_table(next_event(state, control))
    db:close()
    raises("closed", next_event, state, control)
  end)

  it("cross sealed segments, and a history is a walk through them", function()
    local body = ("x"):rep(10000)
    for i = 1, 500 do assert(b:put { id = "doc-" .. i % 5, n = i, body = body }) end
    assert(db:flush())
    assert.is_true(db:stats().segments >= 4)
    local seq = 0
    for event in db:events() do
      seq = seq + 1
      assert.equal(seq, event.seq)
    end
    assert.equal(506, seq)
    local n = 3
    for event in db:events { collection = "b", id = "doc-3" } do
      assert.equal(n, event.document.n)
      n = n + 5
    end
    assert.equal(503, n)
  end)
end)

describe("limits", function()
  after_each(workspace.clean)

  it("refuse a document over document_bytes_max", function()
    local db <close> = assert(tidemark.open(workspace.path(), { document_bytes_max = 100 }))
    local c = db:collection "c"
    assert(c:create { id = "x", s = ("x"):rep(70) })
    for _, call in ipairs { function() return c:create { s = ("x"):rep(100) } end,
      function() return c:update("x", { t = ("x"):rep(50) }) end } do
      local ok, message, code = call()
      assert.is_nil(ok)
      assert.equal("invalid", code)
      assert.matches("100", message)
    end
  end)

  it("let a document larger than the channel go alone", function()
    local path = workspace.path()
    do
      local db <close> = assert(tidemark.open(path, { pending_bytes_max = 65536 }))
      local c = db:collection "c"
      for i = 1, 5 do assert(c:create { id = "x" .. i, s = ("x"):rep(1000000) }) end
      for i = 1, 3000 do assert(c:create { s = ("y"):rep(100), i = i }) end
    end
    local db <close> = assert(tidemark.open(path))
    assert.equal(3005, #db:collection "c")
    assert.equal(1000000, #db:collection "c":get "x3".s)
  end)

  it("hold a million documents in one collection, and as many replacements as you like", function()
    local count = os.getenv "TIDEMARK_SANITIZER" and 50000 or 1000000
    local path = workspace.path()
    local before
    do
      local db <close> = assert(tidemark.open(path, { sync = "none" }))
      local c = db:collection "c"
      for i = 1, count do assert(c:create('{"id":"' .. i .. '","pad":"ppppppppppppppp"}')) end
      assert.equal(count, #c)
      assert(db:flush())
      before = db:stats().memory_bytes
      for i = 1, count do assert(c:put('{"id":"' .. i .. '","pad":"qqqqqqqqqqqqqqq"}')) end
      assert(db:flush())
      assert.is_true(db:stats().memory_bytes < before * 1.5)
      assert.equal(count, #c)
    end
    local db <close> = assert(tidemark.open(path))
    local c, seen = db:collection "c", 0
    for _, text in c:each(nil, true) do
      seen = seen + 1
      if not text:find("qqqqq", 1, true) then error(text) end
    end
    assert.equal(count, seen)
  end)

  it("let handles be collected while others of theirs live", function()
    local c, next_event, state
    do
      local db = assert(tidemark.open(workspace.path()))
      c = db:collection "c"
      for i = 1, 100 do assert(c:create { n = i }) end
      assert(db:flush())
      next_event, state = db:events()
    end
    collectgarbage()
    collectgarbage()
    assert.equal(100, #c)
    assert.equal(1, next_event(state).seq)
    local next_document, no_state, control, scan = c:each()
    c = nil
    collectgarbage()
    collectgarbage()
    assert.is_string((next_document(scan or no_state, control)))
    assert.equal(2, next_event(state).seq)
  end)

  it("hold ten thousand collections", function()
    local path = workspace.path()
    do
      local db <close> = assert(tidemark.open(path))
      for i = 1, 10000 do assert(db:collection("c" .. i):create { id = "x", n = i }) end
    end
    local db <close> = assert(tidemark.open(path))
    assert.equal(10000, db:stats().collections)
    for i = 1, 10000, 99 do assert.equal(i, db:collection("c" .. i):get "x".n) end
  end)
end)
