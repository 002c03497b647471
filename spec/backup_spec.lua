local tidemark = require "tidemark"
local cjson = require "cjson"
local workspace = require "spec.support.workspace"

describe("backup and restore", function()
  local path, backup, restored, db, articles

  before_each(function()
    path = workspace.path()
    backup, restored = path .. "-backup", path .. "-restored"
  end)
  after_each(function()
    if db then db:close() end
    db = nil
    workspace.clean()
  end)

  local function open()
    db = assert(tidemark.open(path, { segment_bytes = 1 << 20 }))
    articles = db:collection "articles"
  end

  -- Documents from..to, of 10,000 bytes each: a segment has about 100.
  local function fill(from, to)
    for i = from, to do
      assert(articles:put { id = "a" .. i % 50, n = i, pad = ("p"):rep(10000) })
      if i % 5 == 0 then assert(db:flush()) end
    end
    assert(db:flush())
  end

  -- All events of a directory, as dump prints them; and its documents, sorted.
  local function events(directory, arguments)
    local out, err, status = workspace.command(("dump %s --json %s"):format(directory, arguments or ""))
    assert.equal(0, status, err)
    return out
  end

  local function documents(directory)
    local out, err, status = workspace.command(("export %s articles | sort"):format(directory))
    assert.equal(0, status, err)
    return out
  end

  local function same(one, other)
    assert.is_true(events(one) == events(other), "the events differ")
    assert.is_true(documents(one) == documents(other), "the documents differ")
  end

  local function expect(status, arguments)
    local out, err, found = workspace.command(arguments)
    assert.equal(status, found, out .. err)
    if status >= 2 then assert.matches("^tidemark: ", err) end
    return status == 0 and out or out .. err
  end

  -- Names, lengths and checksums of all files below; what must not change is compared with it.
  local function state(directory)
    return (workspace.run(("cd %s 2>/dev/null && find . -type f | sort | xargs -r cksum; ls -a %s"):format(directory, directory)))
  end

  -- That the command fails with a message like `message`, and changes nothing below the workspace.
  local function refuses(message, arguments)
    local parent = path:match "(.*)/"
    local before = state(parent)
    local err = expect(3, arguments)
    assert.matches(message, err)
    assert.equal(before, state(parent))
    return err
  end

  local function flip(file, offset)
    local handle = assert(io.open(file, "r+b"))
    handle:seek("set", offset)
    local byte = handle:read(1):byte()
    handle:seek("set", offset)
    handle:write(string.char(byte ~ 0x10))
    handle:close()
  end

  local function segments(directory)
    local names = {}
    for name in workspace.run("cd " .. directory .. " && ls events-*"):gmatch "[^\n]+" do names[#names + 1] = name end
    return names
  end

  it("holds everything accepted before the call, while the database goes on", function()
    open()
    fill(1, 250)
    assert(articles:put { id = "last", n = 251 }) -- accepted, not flushed
    local result = assert(db:backup(backup))
    assert.equal(251, result.seq)
    assert.equal(3, result.files)
    assert.equal(3, result.files_copied)
    assert.equal(result.bytes, result.bytes_copied)
    assert.is_true(result.bytes > 2500000 and math.abs(result.time_us / 1e6 - os.time()) < 60)
    assert.matches("^whole: 251 events in 3 segments", expect(0, "verify " .. backup))
    assert.equal(0, #segments(backup) - 2)
    fill(252, 260)
    assert.equal(251, select(2, events(backup):gsub("\n", "")))
    local read_only <close> = assert(tidemark.open(backup, { read_only = true }))
    assert.equal(51, #read_only:collection "articles")
  end)

  it("of an empty database is one", function()
    open()
    assert.equal(0, assert(db:backup(backup)).seq)
    expect(0, "verify " .. backup)
    expect(0, ("restore %s %s"):format(backup, restored))
    local empty <close> = assert(tidemark.open(restored))
    assert.equal(1, select(2, empty:collection "c":create {}))
  end)

  it("is brought up to date by copying what is new", function()
    open()
    fill(1, 250)
    assert(db:backup(backup))
    fill(251, 500)
    local result = assert(db:backup(backup))
    assert.equal(500, result.seq)
    assert.equal(5, result.files)
    assert.equal(3, result.files_copied)
    assert.is_true(result.bytes_copied < result.bytes - 1800000)
    local again = assert(db:backup(backup)) -- nothing is new: the active segment alone is written
    assert.equal(1, again.files_copied)
    assert.equal(500, again.seq)
    assert(db:close())
    same(path, backup)
    expect(0, "verify " .. backup)
  end)

  it("of a closed database has the same bytes, and so has what is restored", function()
    open()
    fill(1, 250)
    assert(db:close())
    expect(0, ("backup %s %s"):format(path, backup))
    expect(0, ("restore %s %s"):format(backup, restored))
    for _, other in ipairs { backup, restored } do
      assert.equal("", (workspace.run(("cd %s && for f in events*; do cmp $f %s/$f; done"):format(path, other))))
    end
    assert.equal("", (workspace.run("ls " .. restored .. " | grep -v ^events | grep -v ^lock$")))
    -- It is the database that it was: it can be backed up further.
    db = assert(tidemark.open(restored))
    assert(db:collection "articles":create { id = "more" })
    assert.equal(251, assert(db:backup(backup)).seq)
  end)

  it("copies again what is damaged in the backup, and removes what the database doesn't have", function()
    open()
    fill(1, 350)
    assert(db:backup(backup))
    local names = segments(backup)
    flip(backup .. "/" .. names[2], 5000)
    local plain = names[2]:gsub("%p", "%%%0")
    assert.matches("damage: " .. plain .. ".*tidemark backup copies them again", expect(1, "verify " .. backup))
    refuses(plain .. ": damaged at offset", ("restore %s %s"):format(backup, restored))
    assert.equal(2, assert(db:backup(backup)).files_copied)
    expect(0, "verify " .. backup)
    workspace.run(("rm %s/%s; cp %s/%s %s/events-00000000000000009999.raftlog"):format(backup, names[1], backup, names[2],
      backup))
    assert.equal(2, assert(db:backup(backup)).files_copied)
    assert.same(names, segments(backup))
    expect(0, "verify " .. backup)
    assert(db:close())
    same(path, backup)
  end)

  it("takes over what a repair has changed", function()
    open()
    fill(1, 350)
    assert(db:backup(backup))
    assert(db:close())
    local names = segments(path)
    flip(path .. "/" .. names[2], 5000)
    expect(0, "repair " .. path)
    open()
    assert(articles:put { id = "later" })
    assert.equal(2, assert(db:backup(backup)).files_copied)
    expect(0, "verify " .. backup)
    assert.matches('"gap"', events(backup))
    expect(0, ("restore %s %s"):format(backup, restored))
    assert(db:close())
    same(path, restored)
  end)

  it("works beside a process that writes", function()
    -- As fast as it is durable, and no more than some hundred megabytes: without that it outran the backups on a slow machine.
    local script, stop = os.tmpname(), path .. ".stop"
    workspace.write(script, [[
      local db = assert(require "tidemark".open(arg[1], { segment_bytes = 1 << 20, batch_size = 20, flush_interval_ms = 5 }))
      local c, i = db:collection "articles", 0
      repeat
        i = i + 1
        assert(c:put({ id = "a" .. i % 50, n = i, pad = ("p"):rep(i % 7000) }, { durability = "durable" }))
      until i == 100000 or i % 100 == 0 and io.open(arg[2])
      assert(db:close())]])
    os.execute(("%s lua5.4 %s %s %s & echo $! > %s.pid"):format(workspace.lua_environment, script, path, stop, path))
    workspace.run("for i in $(seq 600); do [ -s " .. path .. "/events.raftlog ] && break; sleep 0.05; done")
    local last = -1
    for _ = 1, 12 do
      local seq = math.tointeger(cjson.decode(expect(0, ("backup %s %s --json"):format(path, backup))).seq)
      assert.is_true(seq >= last)
      last = seq
      assert.matches("^whole: " .. seq .. " events", expect(0, "verify " .. backup))
    end
    workspace.write(stop, "")
    workspace.run(("for i in $(seq 600); do kill -0 $(cat %s.pid) 2>/dev/null || break; sleep 0.05; done"):format(path))
    os.remove(script)
    assert.is_true(last > 0)
    assert.is_true(events(backup) == events(path, "--to " .. last), "the events differ")
  end)

  it("of a database that a crash has left passes its torn tail over", function()
    open()
    fill(1, 20)
    os.execute(("mkdir -p %s-crashed && cp %s/events.raftlog %s-crashed"):format(path, path, path))
    local file = assert(io.open(path .. "-crashed/events.raftlog", "r+b"))
    file:seek("set", db:stats().log_bytes)
    file:write(("torn "):rep(100))
    file:close()
    assert.matches("up to seq 20", expect(0, ("backup %s-crashed %s"):format(path, backup)))
    expect(0, "verify " .. backup)
  end)

  it("is refused where it would do harm, and nothing is changed", function()
    open()
    fill(1, 120)
    assert(db:close())
    local parent, name = path:match "(.*)/([^/]+)"
    os.execute(("ln -s %s %s/link; mkdir -p %s/foreign %s/apart"):format(path, parent, parent, parent))
    workspace.write(parent .. "/foreign/letter.txt", "Dear")
    for _, target in ipairs { path, path .. "/", path .. "/.", parent .. "/apart/../" .. name, parent .. "/link" } do
      refuses("the same directory", ("backup %s %s"):format(path, target))
    end
    refuses("lies inside", ("backup %s %s/backup"):format(path, path))
    refuses("lies inside", ("backup %s %s/link/some/where"):format(path, parent))
    local err = expect(3, ("backup %s %s/missing/../%s/inside"):format(path, parent, name))
    assert.matches("lies inside", err)
    os.execute(("rmdir %s/inside %s/missing"):format(path, parent))
    refuses("inside; choose", ("backup %s %s"):format(path, parent))
    refuses("letter.txt, which is no part of a backup", ("backup %s %s/foreign"):format(path, parent))
    refuses("Not a directory", ("backup %s %s/foreign/letter.txt"):format(path, parent))
    refuses("letter.txt/x: Not a directory", ("backup %s %s/foreign/letter.txt/x"):format(path, parent))
    refuses("no such directory", ("backup %s/nowhere %s"):format(path, backup))
    refuses("there is no log", ("backup %s/apart %s"):format(parent, backup))
    local other <close> = assert(tidemark.open(path .. "-other"))
    assert(other:backup(backup))
    refuses("another database", ("backup %s %s"):format(path, backup))
    refuses("is a database and not a backup", ("backup %s %s-other"):format(path, path))
    expect(2, "backup " .. path)
    expect(2, "backup a b c")
    expect(2, "backup '' b")
    assert.has_error(function() other:backup() end)
    assert.has_error(function() other:backup "" end)
  end)

  it("is refused onto a backup that is newer, or whose database went another way", function()
    open()
    fill(1, 60)
    assert(db:backup(backup))
    os.execute(("cp -r %s %s-older"):format(backup, backup))
    fill(61, 80)
    assert(db:backup(backup))
    assert(db:close())
    db = nil
    expect(0, ("restore %s-older %s"):format(backup, restored))
    assert.matches("seq 80, the database with 60", refuses("is newer than", ("backup %s %s"):format(restored, backup)))
    do
      local branch <close> = assert(tidemark.open(restored))
      for i = 1, 40 do assert(branch:collection "articles":put { id = "b" .. i }) end
    end
    refuses("have gone different ways: their events of seq 80", ("backup %s %s"):format(restored, backup))
    expect(0, ("backup %s %s"):format(path, backup)) -- its own still is
  end)

  it("is refused while another one runs, or a process has the target", function()
    open()
    fill(1, 10)
    assert(db:backup(backup))
    local command = ("flock %s/lock %s/tidemark "):format(backup, workspace.build)
    for _, arguments in ipairs { ("backup %s %s"):format(path, backup), ("restore %s %s"):format(backup, restored) } do
      local _, err, status = workspace.run(command .. arguments)
      assert.equal(3, status)
      assert.matches("is in use", err)
    end
    assert.is_nil(io.open(restored))
    refuses("is in use", ("restore %s %s"):format(path, restored)) -- the database is open for writing here
  end)

  it("of a damaged database is refused, and leaves the backup that was", function()
    open()
    fill(1, 250)
    assert(db:backup(backup))
    fill(251, 350)
    assert(db:close())
    flip(path .. "/events.raftlog", 3000)
    assert.matches("offset", refuses("events.raftlog: damaged", ("backup %s %s"):format(path, backup)))
    assert.matches("^whole: 250", expect(0, "verify " .. backup))
  end)

  it("cannot be opened for writing", function()
    open()
    fill(1, 10)
    assert(db:backup(backup))
    local before = state(backup)
    local none, message, code = tidemark.open(backup)
    assert.is_nil(none)
    assert.equal("read_only", code)
    assert.matches("tidemark restore", message)
    assert.equal(before, state(backup))
    expect(3, ("import %s articles /dev/null"):format(backup))
  end)

  it("whose manifest is damaged is refused", function()
    open()
    fill(1, 10)
    assert(db:backup(backup))
    local manifest = workspace.read(backup .. "/backup.manifest")
    for _, text in ipairs { "", "tidemark backup 1\n", manifest:gsub("last 10", "last 11"), manifest:sub(1, -2),
      manifest .. "x" } do
      workspace.write(backup .. "/backup.manifest", text)
      refuses("backup.manifest: damaged", ("backup %s %s"):format(path, backup))
      refuses("backup.manifest: damaged", ("restore %s %s"):format(backup, restored))
      assert.matches("damage: backup.manifest", expect(1, "verify " .. backup))
      assert.equal("read_only", select(3, tidemark.open(backup)))
    end
    workspace.write(backup .. "/backup.manifest", (manifest:gsub("backup 1", "backup 2")))
    refuses("version 2", ("restore %s %s"):format(backup, restored))
  end)

  it("that ends before its manifest says is told, and restored only up to a seq", function()
    open()
    fill(1, 10)
    assert(db:backup(backup .. "2"))
    fill(11, 20)
    assert(db:backup(backup))
    os.execute(("cp %s2/events.raftlog %s"):format(backup, backup))
    local out = expect(1, "verify " .. backup)
    assert.matches("ends with seq 10, its manifest says 20 %(seqs 11 to 20%)", out)
    assert.matches("1 damages, 10 events missing", out)
    refuses("ends with seq 10, its manifest says 20", ("restore %s %s"):format(backup, restored))
    expect(0, ("restore %s %s --to-seq 10"):format(backup, restored))
    assert(db:backup(backup))
    expect(0, "verify " .. backup)
  end)

  it("that was interrupted is told so, refused, and completed by another run", function()
    open()
    fill(1, 250)
    local complete = path .. "-complete"
    assert(db:backup(complete))
    local names = segments(complete)
    local function interrupted(files)
      os.execute(("rm -rf %s; mkdir -p %s; touch %s/lock"):format(backup, backup, backup))
      local head = "tidemark backup 1\nstate incomplete\n"
        .. workspace.read(complete .. "/backup.manifest"):match "database %x+\n" .. "last 0 0\ntime 0\n"
      workspace.write(path .. ".crc", head)
      local _, crc = workspace.read(complete .. "/backup.manifest"), nil
      crc = workspace.run(("%s/tidemark run spec/support/crc32c.lua %s.crc"):format(workspace.build, path))
      workspace.write(backup .. "/backup.manifest", head .. "checksum " .. crc)
      for _, name in ipairs(files) do os.execute(("cp %s/%s %s"):format(complete, name, backup)) end
    end
    for count = 0, #names do
      local files = table.move(names, 1, count, 1, {})
      interrupted(files)
      assert.matches("incomplete: backup.manifest.*tidemark backup", expect(1, "verify " .. backup))
      assert.matches('"whole":false', expect(1, "verify --json " .. backup))
      refuses("an interrupted backup; run tidemark backup again", ("restore %s %s"):format(backup, restored))
      local none, message, code = tidemark.open(backup, { read_only = true })
      assert.is_nil(none)
      assert.equal("corrupt", code)
      assert.matches("interrupted backup", message)
      assert.equal(250, assert(db:backup(backup)).seq)
      expect(0, "verify " .. backup)
    end
    interrupted { names[1], names[2], "events.raftlog" } -- before its last step alone
    expect(0, "verify " .. backup)
    expect(0, ("restore %s %s"):format(backup, restored))
    assert(db:close())
    same(path, restored)
  end)

  describe("restore", function()
    it("up to each seq of a log", function()
      open()
      local times = {}
      for i = 1, 12 do
        if i % 4 == 0 then
          assert(articles:delete("a" .. i - 1))
        else
          assert(articles:put { id = "a" .. i, n = i })
        end
        if i % 3 == 0 then assert(db:flush()) end
      end
      assert(db:close())
      for event in events(path):gmatch "[^\n]+" do times[#times + 1] = cjson.decode(event).time_us end
      expect(0, ("backup %s %s"):format(path, backup))
      local ids = {}
      for seq = 1, 12 do
        local to = restored .. seq
        local result = cjson.decode(expect(0, ("restore %s %s --to-seq %d --json"):format(backup, to, seq)))
        assert.equal(seq, result.seq)
        assert.equal(times[seq], result.last_time_us)
        assert.matches("^whole: " .. seq .. " events", expect(0, "verify " .. to))
        assert.is_true(events(to) == events(path, "--to " .. seq))
        assert.is_nil(ids[result.database_id])
        ids[result.database_id] = true
        local own <close> = assert(tidemark.open(to))
        assert.equal(seq + 1, select(2, own:collection "articles":create { id = "next" }))
      end
      refuses("no seq 13: it holds 1 to 12", ("restore %s %s --to-seq 13"):format(backup, restored))
      -- The branch is another database.
      refuses("another database", ("backup %s12 %s"):format(restored, backup))
    end)

    it("up to a time between two events", function()
      open()
      local moments = {}
      for i = 1, 6 do
        assert(articles:put { id = "a" .. i })
        assert(db:flush())
        for event in db:events { from = i } do moments[i] = event.time_us end
        workspace.run "sleep 0.01"
      end
      assert(db:backup(backup))
      local function at(time, seq)
        local to = restored .. tostring(time):gsub("%W", "")
        assert.matches("up to seq " .. seq .. ":", expect(0, ("restore %s %s --to-time %s"):format(backup, to, time)))
        assert.equal(seq, select(2, events(to):gsub("\n", "")))
      end
      for i = 1, 6 do
        at(moments[i], i)
        at(moments[i] + 1, i)
        if i > 1 then at(moments[i] - 1, i - 1) end
      end
      local seconds, micros = moments[3] // 1000000, moments[3] % 1000000
      at(os.date("!%Y-%m-%dT%H:%M:%S", seconds) .. (".%06dZ"):format(micros), 3)
      at(os.date("!%Y-%m-%dT%H:%M:%S", seconds + 5400) .. (".%06d9+01:30"):format(micros), 3)
      at(os.date("!%Y-%m-%d %H:%M:%S", seconds - 3600):gsub(" ", "t") .. (".%06d-01:00"):format(micros), 3)
      local err = refuses("nothing as old as", ("restore %s %s --to-time %d"):format(backup, restored, moments[1] - 1))
      assert.truthy(err:find(os.date("!%Y-%m-%dT%H:%M:%S", moments[1] // 1000000) .. (".%06dZ"):format(moments[1] % 1000000),
        1, true))
      refuses("it doesn't know the state at", ("restore %s %s --to-time 2100-01-01T00:00:00Z"):format(backup, restored))
      refuses("nothing as old as 1970%-01%-01T00:00:01.000000Z",
        ("restore %s %s --to-time 1970-01-01T00:00:01"):format(backup, restored))
    end)

    it("refuses what is no date-time", function()
      for _, time in ipairs { "yesterday", "2026-13-01T00:00:00Z", "2026-02-29T00:00:00Z", "2026-01-01T24:00:00Z", "0",
        "2026-01-01T00:00:00X", "2026-01-01", "2026-01-01T00:60:00Z", "2026-01-00T00:00:00Z", "-5" } do
        expect(2, ("restore a b --to-time %s"):format(time))
      end
      local time_us = require "bindings.commands.restore".time_us
      assert.equal(0, time_us "1970-01-01T00:00:00Z")
      assert.equal(951782400000000, time_us "2000-02-29T00:00:00Z")
      assert.equal(1709164799123000, time_us "2024-02-28T23:59:59.123Z")
      assert.equal(4102444800000000, time_us "2100-01-01T01:00:00+01:00")
      for _ = 1, 200 do
        local seconds = math.random(0, 1 << 33)
        assert.equal(seconds * 1000000, time_us(os.date("!%Y-%m-%dT%H:%M:%SZ", seconds)))
      end
      expect(2, "restore a b --to-seq 0")
      expect(2, "restore a b --to-seq 3 --to-time 5")
      expect(2, "restore a")
      expect(2, "restore a b c")
    end)

    it("cuts within segments and at their borders, and shortens gaps", function()
      open()
      fill(1, 350)
      assert(db:close())
      local names = segments(path)
      local border = tonumber(names[2]:match "%d+")
      flip(path .. "/" .. names[1], 5000)
      expect(0, "repair " .. path)
      expect(0, ("backup %s %s"):format(path, backup))
      for i, seq in ipairs { 1, 2, 7, border - 1, border, border + 1, 349, 350 } do
        local to = restored .. i
        expect(0, ("restore %s %s --to-seq %d"):format(backup, to, seq))
        expect(0, "verify " .. to)
        local own <close> = assert(tidemark.open(to))
        assert.equal(seq, own:watermarks().accepted)
        local wanted = events(path, "--to " .. seq)
        if seq < 5 then -- within the gap of the first frame
          assert.equal(('{"seq":1,"last_seq":%d,"type":"gap"}\n'):format(seq), events(to))
        else
          assert.is_true(wanted == events(to), "the events differ up to " .. seq)
        end
      end
    end)

    it("is refused where it would do harm, and nothing is changed", function()
      open()
      fill(1, 10)
      assert(db:backup(backup))
      assert(db:close())
      local parent = path:match "(.*)/"
      refuses("is not empty", ("restore %s %s"):format(backup, path))
      refuses("is not empty", ("restore %s %s"):format(backup, backup))
      refuses("is not empty", ("restore %s %s"):format(backup, parent))
      refuses("lies inside", ("restore %s %s/inside"):format(backup, backup))
      refuses("no such directory", ("restore %s/nowhere %s"):format(backup, restored))
      refuses("Not a directory", ("restore %s %s/events.raftlog"):format(backup, backup))
      os.execute(("mkdir -p %s.restoring; echo letter > %s.restoring/letter"):format(restored, restored))
      refuses("is in the way: it holds letter", ("restore %s %s"):format(backup, restored))
      os.execute(("rm %s.restoring/letter; mkdir -p %s-empty"):format(restored, path))
      refuses("there is no log", ("restore %s-empty %s"):format(path, restored))
      -- What an interrupted run left is removed; an empty directory, a link to one and parents that are missing are fine.
      workspace.write(restored .. ".restoring/events-00000000000000000001.raftlog", "half of")
      workspace.write(restored .. ".restoring/segment.tmp", "half of")
      expect(0, ("restore %s %s"):format(backup, restored))
      assert.is_nil(io.open(restored .. ".restoring"))
      os.execute(("ln -s %s-empty %s-link"):format(path, path))
      expect(0, ("restore %s %s-link/"):format(backup, path))
      expect(0, ("restore %s %s/some/where/else"):format(path, parent)) -- a database that nobody has open
      for _, to in ipairs { restored, path .. "-empty", parent .. "/some/where/else" } do same(path, to) end
    end)

    it("of what was repaired gives what is left", function()
      open()
      fill(1, 250)
      assert(db:backup(backup))
      flip(backup .. "/" .. segments(backup)[1], 5000)
      refuses("see tidemark verify and repair", ("restore %s %s"):format(backup, restored))
      expect(0, "repair " .. backup)
      expect(0, ("restore %s %s"):format(backup, restored))
      same(backup, restored)
      assert(db:backup(backup)) -- and the next backup has it whole again
      assert(db:close())
      same(path, backup)
    end)

    it("fails as a whole when the disk is full", function()
      open()
      fill(1, 100)
      assert(db:backup(backup))
      local before = state(path:match "(.*)/")
      local _, err, status = workspace.run(("ulimit -f 600; trap '' XFSZ; %s/tidemark restore %s %s"):format(workspace.build,
        backup, restored))
      assert.equal(3, status)
      assert.matches("cannot write", err)
      _, err, status = workspace.run(("ulimit -f 600; trap '' XFSZ; %s/tidemark backup %s %s2"):format(workspace.build, path,
        backup))
      assert.equal(3, status)
      assert.matches("cannot write", err)
      os.execute(("rm -r %s2"):format(backup))
      assert.equal(before, state(path:match "(.*)/"))
    end)
  end)

  it("of random logs, restored, is the log up to its seq", function()
    local seed = tonumber(os.getenv "TIDEMARK_SEED") or os.time()
    print(("backup: TIDEMARK_SEED=%d"):format(seed))
    math.randomseed(seed)
    for round = 1, tonumber(os.getenv "TIDEMARK_ROUNDS") or 5 do
      local name = path .. round
      local own = assert(tidemark.open(name, { segment_bytes = 1 << 20, batch_size = math.random(1, 40) }))
      local c, state_at, now = own:collection "articles", {}, {}
      local backups = {}
      for seq = 1, math.random(100, 300) do
        local id = "d" .. math.random(20)
        if now[id] and math.random(4) == 1 then
          assert(c:delete(id))
          now[id] = nil
        else
          now[id] = seq
          assert(c:put { id = id, n = seq, pad = ("x"):rep(math.random(0, 15000)) })
        end
        local copy = {}
        for key, n in pairs(now) do copy[key] = n end
        state_at[seq] = copy
        if math.random(60) == 1 then
          backups[#backups + 1] = assert(own:backup(name .. "-backup")).seq
          assert.equal(seq, backups[#backups])
        end
      end
      local last = assert(own:backup(name .. "-backup")).seq
      assert(own:close())
      for i = 1, 4 do
        local seq = i == 1 and last or math.random(last)
        local to = ("%s-restored%d"):format(name, i)
        expect(0, ("restore %s-backup %s --to-seq %d"):format(name, to, seq))
        local found = {}
        local again <close> = assert(tidemark.open(to))
        for id, document in again:collection "articles":each() do found[id] = document.n end
        assert.same(state_at[seq], found)
      end
    end
  end)
end)
