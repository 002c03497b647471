local tidemark = require "tidemark"
local workspace = require "spec.support.workspace"

-- What a crash leaves, and what damage is: cut and flipped bytes never give other documents than were stored.
describe("a damaged log", function()
  after_each(workspace.clean)

  local function build(frames, segment_bytes)
    local path = workspace.path()
    local db = assert(tidemark.open(path, { segment_bytes = segment_bytes }))
    local c = db:collection "c"
    local ends = {} -- the log's length after each frame
    for i = 1, frames do
      for j = 1, 3 do assert(c:create { id = ("%d-%d"):format(i, j), n = i * 10 + j, pad = ("p"):rep(i % 5 * 10) }) end
      assert(db:flush())
      ends[i] = db:stats().log_bytes
    end
    return path, ends, db
  end

  -- The log as a crash would leave it: copied while the database is open.
  local function crashed(frames)
    local path, ends, db = build(frames)
    local bytes = workspace.read(path .. "/events.raftlog"):sub(1, ends[#ends])
    db:close()
    local copy = workspace.path()
    assert(os.execute("mkdir -p " .. copy))
    return copy, bytes, ends
  end

  local function check_prefix(db)
    local c = db:collection "c"
    local count = #c
    for k = 1, count do
      local i, j = (k - 1) // 3 + 1, (k - 1) % 3 + 1
      local document, version = c:get(("%d-%d"):format(i, j))
      assert.same({ id = ("%d-%d"):format(i, j), n = i * 10 + j, pad = ("p"):rep(i % 5 * 10) }, document)
      assert.equal(k, version)
    end
    return count
  end

  it("cut at any byte of its last frames opens as a gapless prefix", function()
    local path, bytes, ends = crashed(8)
    local function try(length)
      workspace.write(path .. "/events.raftlog", bytes:sub(1, length))
      local db <close> = assert(tidemark.open(path))
      local whole = 0
      for _, e in ipairs(ends) do
        if e <= length then whole = whole + 1 end
      end
      assert.equal(whole * 3, check_prefix(db))
      if length > (ends[whole] or 64) then assert.equal(whole * 3 + 1, db:stats().torn_seq) end
      local _, version = assert(db:collection "d":create { id = "after" })
      assert.equal(whole * 3 + 1, version)
    end
    for length = ends[5], ends[8] do try(length) end
    for _ = 1, 100 do try(math.random(64, ends[8])) end
  end)

  it("with a flipped byte is refused or cut, never different documents", function()
    local path, bytes, ends = crashed(6)
    local refused, cut = 0, 0
    for at = 1, ends[6] do
      if at % 3 == 0 or at > ends[5] or at <= 200 then
        local byte = bytes:byte(at)
        local flipped = bytes:sub(1, at - 1) .. string.char(byte ~ (1 << at % 8)) .. bytes:sub(at + 1)
        workspace.write(path .. "/events.raftlog", flipped)
        local db, message, code = tidemark.open(path)
        if db then
          cut = cut + 1
          assert.is_true(check_prefix(db) <= 18)
          assert.is_true(at > ends[5], "a durable frame was cut")
          db:close()
        else
          refused = refused + 1
          assert.is_true(code == "corrupt" or code == "invalid", message)
          assert.truthy(message:find("events.raftlog", 1, true))
        end
      end
    end
    assert.is_true(refused > 100 and cut > 50)
  end)

  it("closed cleanly knows that all of it was durable", function()
    local path, ends, db = build(4)
    assert(db:close())
    local bytes = workspace.read(path .. "/events.raftlog")
    local at = ends[4] - 10
    workspace.write(path .. "/events.raftlog", bytes:sub(1, at) .. "?" .. bytes:sub(at + 2))
    local opened, message, code = tidemark.open(path)
    assert.is_nil(opened)
    assert.equal("corrupt", code)
    assert.matches("offset " .. ends[3], message)
    assert.matches("seqs 10 to 12", message)
    local out, _, status = workspace.command("verify " .. path)
    assert.equal(1, status)
    assert.matches("damage: events.raftlog: offset " .. ends[3], out)
    assert.matches("seqs 10 to 12", out)
    out, _, status = workspace.command("repair " .. path)
    assert.equal(0, status)
    assert.matches("9 events kept, 3 missing", out)
    out, _, status = workspace.command("verify " .. path)
    assert.equal(0, status)
    assert.matches("gap: events.raftlog", out)
    local repaired <close> = assert(tidemark.open(path))
    assert.equal(9, check_prefix(repaired))
    local last
    for event in repaired:events { from = 10 } do last = event end
    assert.equal("gap", last.type)
    assert.equal(10, last.seq)
    assert.equal(12, last.last_seq)
    local _, version = assert(repaired:collection "c":create {})
    assert.equal(13, version)
    local removed = workspace.run("cat " .. path .. "/removed-*.raftlog")
    assert.truthy(removed:find(bytes:sub(ends[3] + 1, at), 1, true))
  end)

  local function many_segments()
    local path = workspace.path()
    local db = assert(tidemark.open(path, { segment_bytes = 1 << 20 }))
    local c = db:collection "c"
    for i = 1, 60 do
      for j = 1, 10 do assert(c:create { id = i .. "-" .. j, n = i, pad = ("p"):rep(10000) }) end
      assert(db:flush())
    end
    assert(db:close())
    local names = {}
    for name in workspace.run("cd " .. path .. " && ls events-*"):gmatch "[^\n]+" do names[#names + 1] = name end
    assert.is_true(#names >= 4)
    return path, names
  end

  local function repair_and_check(path, kept_min)
    local _, errors, status = workspace.command("repair " .. path)
    assert.equal(0, status, errors)
    local out
    out, _, status = workspace.command("verify " .. path)
    assert.equal(0, status, out)
    local db <close> = assert(tidemark.open(path))
    local count, seq = 0, 0
    for event in db:events() do
      assert.equal(seq + 1, event.seq)
      seq = event.last_seq or event.seq
      if event.type ~= "gap" then
        count = count + 1
        assert.equal(10000, #event.document.pad)
      end
    end
    assert.is_true(seq >= kept_min, "the events end at " .. seq)
    assert.is_true(count >= kept_min, count .. " events kept")
    assert.equal(count, #db:collection "c")
    assert(db:collection "c":create { pad = ("p"):rep(10000) })
    return count
  end

  it("with a missing middle segment is refused; repair leaves a gap", function()
    local path, names = many_segments()
    os.remove(path .. "/" .. names[2])
    local db, message, code = tidemark.open(path)
    assert.is_nil(db)
    assert.equal("corrupt", code)
    assert.matches("missing", message)
    assert.equal(1, (select(3, workspace.command("verify " .. path))))
    repair_and_check(path, 400)
  end)

  it("with a foreign, an empty or a short file among its segments is refused and can be repaired", function()
    local foreign = many_segments()
    for _, content in ipairs { "", "short", ("other program's "):rep(100),
      workspace.read(foreign .. "/events-00000000000000000001.raftlog") } do
      for _, which in ipairs { 1, 3 } do
        local path, names = many_segments()
        workspace.write(path .. "/" .. names[which], content)
        local db, message, code = tidemark.open(path)
        assert.is_nil(db)
        assert.equal("corrupt", code)
        assert.truthy(message:find(names[which], 1, true), message)
        repair_and_check(path, 400)
      end
    end
  end)

  it("whose segment's header is damaged keeps its events", function()
    local path, names = many_segments()
    for _, name in ipairs { names[1], names[3], "events.raftlog" } do
      local file = assert(io.open(path .. "/" .. name, "r+b"))
      file:seek("set", 20)
      file:write "\1\2\3\4"
      file:close()
    end
    assert.equal(600, repair_and_check(path, 600))
    local single, _, db = build(3)
    assert(db:close())
    local bytes = workspace.read(single .. "/events.raftlog")
    workspace.write(single .. "/events.raftlog", ("\0"):rep(64) .. bytes:sub(65))
    assert.equal("corrupt", (select(3, tidemark.open(single))))
    assert.equal(0, (select(3, workspace.command("repair " .. single))))
    local repaired <close> = assert(tidemark.open(single))
    assert.equal(9, check_prefix(repaired))
  end)

  it("of another version or program is refused", function()
    local path, _, db = build(1)
    assert(db:close())
    local bytes = workspace.read(path .. "/events.raftlog")
    workspace.write(path .. "/events.raftlog", "#!/bin/sh\n" .. ("echo hello\n"):rep(20))
    local opened, message, code = tidemark.open(path)
    assert.is_nil(opened)
    assert.equal("corrupt", code)
    assert.matches("events.raftlog", message)
    assert.matches("\245TIDELOG", bytes:sub(1, 8))
  end)

  it("after an interrupted creation opens as an empty database", function()
    local path, _, db = build(1)
    assert(db:close())
    local header = workspace.read(path .. "/events.raftlog"):sub(1, 64)
    for length = 0, 64, 16 do
      local fresh = workspace.path()
      assert(os.execute("mkdir -p " .. fresh))
      workspace.write(fresh .. "/events.raftlog.next", header:sub(1, length))
      local opened <close> = assert(tidemark.open(fresh))
      assert.equal(0, opened:watermarks().accepted)
    end
  end)

  it("holds everything acknowledged as durable after SIGKILL", function()
    local path = workspace.path()
    local printed = os.tmpname()
    local expected = 0
    for round = 1, tonumber(os.getenv "TIDEMARK_KILLS") or 12 do
      local script = os.tmpname()
      workspace.write(script, [[
        local db = assert(require "tidemark".open(arg[1], { segment_bytes = 1 << 20, batch_size = 50 }))
        local c = db:collection "c"
        local out = assert(io.open(arg[2], "a"))
        out:setvbuf "no"
        for i = 1, 1000000 do
          local id, version = assert(c:create({ pad = ("p"):rep(i % 700) }, { durability = i % 10 == 0 and "durable" or nil }))
          if i % 10 == 0 then out:write(("%s %d\n"):format(id, version)) end -- one write, so no line is cut in two
        end]])
      local before = #workspace.read(printed)
      workspace.run(([[%s lua5.4 %s %s %s & for i in $(seq 600); do [ $(stat -c %%s %s) -gt %d ] && break
        sleep 0.05; done; sleep 0.0%d; kill -9 $!; wait $!]]):format(workspace.lua_environment, script, path, printed,
        printed, before, round * 7 % 10))
      os.remove(script)
      local db <close> = assert(tidemark.open(path))
      local c = db:collection "c"
      local acknowledged = 0
      for line in io.lines(printed) do
        local id, version = line:match "^(%S+) (%d+)$"
        if id then
          acknowledged = acknowledged + 1
          assert.equal(tonumber(version), (select(2, c:get(id))))
        end
      end
      assert.is_true(acknowledged >= expected)
      expected = acknowledged
      local seq = 0
      for event in db:events() do
        seq = seq + 1
        assert.equal(seq, event.seq)
      end
      assert.equal(seq, #c)
    end
    os.remove(printed)
    assert.is_true(expected > 0)
  end)
end)
