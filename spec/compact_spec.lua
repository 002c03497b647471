local tidemark = require "tidemark"
local cjson = require "cjson"
local server = require "spec.support.server"
local workspace = require "spec.support.workspace"

describe("retention", function()
  local path
  before_each(function() path = workspace.path() end)
  after_each(server.clean)

  local function expect(status, arguments)
    local out, err, found = workspace.command(arguments)
    assert.equal(status, found, out .. err)
    return out, err
  end

  --- Replaces `documents` documents in turn, `rounds` times each. A segment ends behind every tenth round, for a compaction
  --- begins with a seal: where one ends for its size hangs on how the writer's batches fall, and a segment of which less
  --- than a tenth would go is left as it is.
  local function fill(documents, rounds, options)
    local db = assert(tidemark.open(path, options))
    local c = db:collection "articles"
    for round = 1, rounds do
      for i = 1, documents do assert(c:put { id = "a" .. i, round = round, text = ("x"):rep(2000) }) end
      if not options and round % 10 == 0 and round < rounds then assert(db:compact { days = 1 }) end
    end
    assert(db:flush())
    return db, c
  end

  --- The events told, and whether they and the gaps cover all seqs.
  local function events(db)
    local told, next_seq = {}, 1
    for event in db:events() do
      assert.equal(next_seq, event.seq)
      next_seq = (event.last_seq or event.seq) + 1
      if event.type ~= "gap" then told[#told + 1] = event end
    end
    assert.equal(db:watermarks().written + 1, next_seq)
    return told
  end

  it("compacts when it is called, to what it is told", function()
    local db, c = fill(50, 40)
    local before = db:stats()
    local result = assert(db:compact { events_per_document = 3 })
    assert.equal(50 * 37, result.removed)
    assert.is_true(result.bytes_before >= before.log_bytes) -- a seal more
    assert.is_true(result.bytes_before < before.log_bytes + 1000)
    assert.is_true(result.bytes_after < result.bytes_before / 5)
    assert.equal(result.bytes_after, db:stats().log_bytes)
    assert.equal(1850, db:stats().compacted_events)
    assert.equal(before.compactions + 1, db:stats().compactions)
    assert.equal(150, #events(db))
    local rounds = {}
    for event in db:events { collection = "articles", id = "a7" } do rounds[#rounds + 1] = event.document.round end
    assert.same({ 38, 39, 40 }, rounds)
    assert.equal(0, assert(db:compact { events_per_document = 3 }).rewritten)
    assert.equal(0, assert(db:compact "all").removed)
    assert.equal(0, assert(db:compact()).removed) -- the option's: all
    assert.equal(0, assert(db:compact { days = 1 }).removed)
    assert(db:close())
    db = assert(tidemark.open(path))
    c = db:collection "articles"
    assert.equal(50, #c)
    for i = 1, 50 do assert.equal(40, c:get("a" .. i).round) end
    assert.equal(150, #events(db))
    assert(db:close())
  end)

  it("compacts in the background when the option says so", function()
    local options = { segment_bytes = 1 << 20, retain = { log_bytes = 2 << 20 } }
    local db = fill(20, 200, options)
    for _ = 1, 500 do -- at the most so many tenths of a segment more
      if db:stats().log_bytes <= 3 << 20 then break end
      for _ = 1, 50 do
        assert(db:collection "articles":put { id = "a1", round = 200, text = ("x"):rep(2000) })
      end
      assert(db:flush())
    end
    local stats = db:stats()
    assert.is_true(stats.log_bytes <= 3 << 20)
    assert.is_true(stats.compactions > 0)
    assert.equal(0, stats.compactions_failed)
    events(db)
    assert(db:close())
    local out = expect(0, "verify " .. path)
    assert.matches("^whole: ", out)
    assert.matches("compacted events +%d%d%d", (expect(0, "info " .. path)))
  end)

  it("is checked when it is opened or called", function()
    local db <close> = assert(tidemark.open(path, { retain = { days = 7 } }))
    local function refused(pattern, retain)
      for _, call in ipairs { { tidemark.open, path, { retain = retain } }, { db.compact, db, retain } } do
        local ok, message = pcall(table.unpack(call))
        assert.is_false(ok)
        assert.matches(pattern, message)
      end
    end
    refused("retain: \"all\" or a table", "none")
    refused("retain: \"all\" or a table", 5)
    refused("retain: \"all\" or a table", {})
    refused("retain: \"all\" or a table", { 1 })
    refused("retain: \"all\" or a table", { years = 1 })
    refused("retain: \"all\" or a table", { days = 1, log_bytes = 1 << 30 })
    refused("days: integer expected", { days = "7" })
    refused("days: 0 is not between", { days = 0 })
    refused("option retain, days: 36501 is not between 1 and 36500", { days = 36501 })
    refused("option retain, log_bytes: 1048575 is not between", { log_bytes = (1 << 20) - 1 })
    refused("option retain, events_per_document: 1000000001 is not", { events_per_document = 1000000001 })
    for _, limit in ipairs { { days = 36500 }, { log_bytes = 1 << 20 }, { log_bytes = 1 << 60 }, { events_per_document = 1 },
      { events_per_document = 1000000000 }, "all" } do
      assert(db:compact(limit))
      local other, message, code = tidemark.open(path, { retain = limit })
      assert.is_nil(other)
      assert.equal("invalid", code)
      assert.matches("retain", message)
    end
    assert(assert(tidemark.open(path, { retain = { days = 7 } })):close())
    local any <close> = assert(tidemark.open(path))
    assert.equal(0, assert(any:compact()).removed)
    local ok, message = pcall(db.compact)
    assert.is_false(ok)
    assert.matches("tidemark.database expected", message)
  end)

  it("is refused where the database is read alone", function()
    assert(fill(1, 1):close())
    local db <close> = assert(tidemark.open(path, { read_only = true, retain = { days = 1 } }))
    local result, _, code = db:compact()
    assert.is_nil(result)
    assert.equal("read_only", code)
  end)

  it("is a command", function()
    assert(fill(50, 40):close())
    local out = expect(0, "compact " .. path .. " --events-per-document 20")
    assert.matches("^1000 events removed from %d of %d segments: %d+ bytes, before %d+\n$", out)
    local result = cjson.decode((expect(0, "compact " .. path .. " --log-bytes 1048576 --json")))
    assert.is_true(result.bytes_after <= 1 << 20)
    assert.is_true(result.removed > 0)
    assert.matches("^0 events removed", (expect(0, "compact " .. path .. " --days 3")))
    out = expect(0, "compact " .. path) -- the newest event of each document
    assert.matches("events removed", out)
    assert.matches("^whole: 50 events", (expect(0, "verify " .. path)))
    out = expect(0, "dump " .. path)
    assert.equal(50, select(2, out:gsub("\tupdated\t", "")))
    assert.matches("1\t%-\tgap\tto 1950\n", out)
    local info = cjson.decode((expect(0, "info " .. path .. " --json")))
    assert.equal(1950, info.compacted_events)
    assert.equal(50, info.collections.articles)
  end)

  it("as a command says what is wrong with its arguments", function()
    assert.matches("a directory is needed", select(2, expect(2, "compact")))
    assert.matches("only one of", select(2, expect(2, "compact x --days 1 --log-bytes 2000000")))
    assert.matches("there is no database", select(2, expect(3, "compact " .. path)))
    local db <close> = fill(1, 1)
    assert.matches("open in another process", select(2, expect(3, "compact " .. path)))
    assert(db:close())
    assert.matches("not between", select(2, expect(2, "compact " .. path .. " --days 99999999")))
    assert.matches("not between", select(2, expect(2, "compact " .. path .. " --days 0")))
  end)

  it("is an option of the server", function()
    local app = workspace.path()
    workspace.write(app, [[
      local app, db = ...
      app:get("/compact", function()
        for i = 1, 20 do db:collection "articles":put { id = "a", n = i } end
        return 200, db:compact()
      end)]])
    local serving = server.start(app, path, "--threads 1 --retain-events-per-document 4")
    local status, body = serving:request("GET", "/compact")
    assert.equal(200, status)
    assert.equal(16, cjson.decode(body).removed)
    assert.equal(0, serving:stop())
    assert.matches("^whole: 4 events", (expect(0, "verify " .. path)))
    assert.matches("only one of", select(2, expect(2,
      ("serve %s --db %s --retain-days 1 --retain-log-bytes 2000000"):format(app, path))))
    assert.matches("not between", select(2, expect(2, ("serve %s --db %s --retain-days 99999"):format(app, path))))
  end)
end)
