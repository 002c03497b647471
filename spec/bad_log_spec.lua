local tidemark = require "tidemark"
local workspace = require "spec.support.workspace"

-- Directories that somebody has had hands in: files gone, copied, renamed, exchanged, replaced. Opening refuses each with a
-- code and the file's name, twice the same, and changes nothing; so does verify. What damage within a file does, and what
-- repair makes of it, is in recovery_spec.lua.
describe("a directory in which", function()
  local original, names, last_first

  -- One log of several segments, copied for each case. Its own, since every test's workspace is cleaned.
  setup(function()
    original = workspace.run("mktemp -d"):match "%S+"
    local db = assert(tidemark.open(original .. "/db", { segment_bytes = 1 << 20 }))
    local c = db:collection "c"
    for i = 1, 40 do
      for j = 1, 10 do assert(c:create { id = i .. "-" .. j, n = i, pad = ("p"):rep(10000) }) end
      assert(db:flush())
    end
    assert(db:close())
    names = {}
    for name in workspace.run("cd " .. original .. "/db && ls events-*"):gmatch "[^\n]+" do names[#names + 1] = name end
    assert(#names >= 3, "only " .. #names .. " sealed segments")
    last_first = tonumber(names[#names]:match "%d+")
  end)

  teardown(function() os.execute("rm -rf " .. original) end)
  after_each(workspace.clean)

  -- Names, kinds, sizes and checksums of everything but the lock file.
  local function listing(path)
    return workspace.run("cd " .. path .. " && find . -path ./lock -prune -o -printf \"%p %y %s %m\\n\" | sort && "
      .. "find . -type f ! -path ./lock -exec sha256sum {} + | sort")
  end

  local function sealed(seq)
    return ("events-%020d.raftlog"):format(seq)
  end

  -- Does `damage` (a shell command within the directory); opening must say `code`, and all of `texts`.
  local function refused(damage, code, ...)
    local path = workspace.path()
    local _, err, status = workspace.run(("cp -r %s/db %s && cd %s && { %s; }"):format(original, path, path, damage))
    assert.equal(0, status, err)
    local before = listing(path)
    assert.matches("events", before)
    local first
    for _ = 1, 2 do
      local db, message, found = tidemark.open(path)
      if db then db:close() end
      assert.is_nil(db, damage .. ": it opens")
      assert.equal(code, found, message)
      for _, text in ipairs { ... } do assert.truthy(message:find(text, 1, true), message) end
      assert.truthy(message:find(path, 1, true), message)
      assert.equal(first or message, message)
      first = message
    end
    local reader = tidemark.open(path, { read_only = true }) -- which may read what a writer would have to mend
    if reader then reader:close() end
    assert.equal(before, listing(path))
    return path, before
  end

  local function refused_and_verified(damage, code, ...)
    local path, before = refused(damage, code, ...)
    local out, err, status = workspace.command("verify " .. path)
    assert.is_true(status == 1 or status == 2, out .. err)
    assert.truthy(out:find("damage: events", 1, true), out .. err)
    assert.equal(before, listing(path))
    return path
  end

  -- The same, and repair makes a database of it that opens and has `least` documents or more.
  local function refused_and_repaired(least, damage, code, ...)
    local path = refused_and_verified(damage, code, ...)
    local _, err, status = workspace.command("repair " .. path)
    assert.equal(0, status, err)
    assert.equal(0, (select(3, workspace.command("verify " .. path))))
    local db <close> = assert(tidemark.open(path))
    assert.is_true(#db:collection "c" >= least, #db:collection "c" .. " documents")
    assert(db:collection "c":create {})
  end

  it("the first segment is gone", function()
    refused_and_verified("rm " .. names[1], "corrupt", "seqs 1 to", "missing", names[2])
  end)

  it("all sealed segments are gone", function()
    refused_and_verified("rm events-*", "corrupt", "seqs 1 to", "missing", "events.raftlog")
  end)

  it("the active segment is gone", function()
    refused_and_repaired(300, "rm events.raftlog", "corrupt", "events.raftlog is missing")
  end)

  it("a segment is there twice, under another seq", function()
    local seq = tonumber(names[2]:match "%d+")
    refused_and_verified(("cp %s %s"):format(names[2], sealed(seq + 1)), "corrupt", sealed(seq + 1), "seq " .. seq)
    refused_and_verified(("cp %s %s"):format(names[1], sealed(last_first + 1000000)), "corrupt",
      sealed(last_first + 1000000), "events.raftlog")
  end)

  it("the active segment is there once more, as a sealed one", function()
    refused(("cp events.raftlog %s"):format(sealed(last_first + 1)), "corrupt", sealed(last_first + 1))
  end)

  it("a segment has the name of another seq", function()
    local seq = tonumber(names[2]:match "%d+")
    for _, other in ipairs { seq + 1, seq - 1 } do
      local path = refused_and_verified(("mv %s %s"):format(names[2], sealed(other)), "corrupt", sealed(other), "seq " .. seq)
      local _, err, status = workspace.command("repair " .. path)
      assert.equal(0, status, err)
      local db <close> = assert(tidemark.open(path))
      assert.equal(400, #db:collection "c")
      local last = 0
      for event in db:events() do
        assert.equal(last + 1, event.seq)
        last = event.seq
      end
      assert.equal(400, last)
    end
  end)

  it("two segments have each other's names", function()
    refused_and_verified(("mv %s x && mv %s %s && mv x %s"):format(names[1], names[2], names[1], names[2]), "corrupt",
      names[1])
    refused_and_verified(("mv %s x && mv events.raftlog %s && mv x events.raftlog"):format(names[3], names[3]), "corrupt",
      names[3])
  end)

  it("the active segment is another database's", function()
    local other = workspace.path()
    local db = assert(tidemark.open(other))
    assert(db:collection "c":create {})
    assert(db:close())
    refused_and_verified(("cp %s/events.raftlog ."):format(other), "corrupt",
      "events.raftlog", names[#names])
  end)

  it("the active segment is empty, or ends within its header", function()
    refused_and_verified(": >events.raftlog", "corrupt", "events.raftlog", "too short")
    refused_and_verified("truncate -s 63 events.raftlog", "corrupt", "events.raftlog", "too short")
  end)

  it("a sealed segment ends early", function()
    refused_and_repaired(300, "truncate -s 500000 " .. names[2], "corrupt", names[2], "offset", "seqs")
    refused_and_repaired(400, "truncate -s -48 " .. names[2], "corrupt", names[2], "offset") -- its mark alone is gone
    refused_and_verified("truncate -s 64 " .. names[2], "corrupt", names[2], "offset 64")
  end)

  it("a segment is of a later format", function()
    refused("printf \"\\002\" | dd of=events.raftlog bs=1 seek=8 conv=notrunc status=none", "invalid", "events.raftlog",
      "format version 2")
    refused(("printf \"\\002\" | dd of=%s bs=1 seek=8 conv=notrunc status=none"):format(names[2]), "invalid", names[2],
      "format version 2")
  end)

  it("a directory has a segment's name", function()
    refused("rm events.raftlog && mkdir events.raftlog", "io", "events.raftlog")
    refused(("rm %s && mkdir %s"):format(names[2], names[2]), "io", names[2])
    refused("mkdir events.raftlog.next", "io", "events.raftlog.next")
  end)

  it("the lock is a directory", function()
    refused("rm -f lock && mkdir lock", "io", "lock")
  end)

  it("a file is named like a segment, but not quite", function()
    for _, name in ipairs { "events-x.raftlog", "events-1.raftlog", "events-.raftlog", sealed(0),
      "events-+0000000000000000001.raftlog", "events-99999999999999999999.raftlog", ("events-%021d.raftlog"):format(1) } do
      refused(("cp %s %s"):format(names[1], name), "corrupt", name, "not the name of a segment")
    end
  end)

  it("a segment may not be read", function()
    if workspace.run("id -u"):match "%d+" == "0" then
      pending "root may read everything"
      return
    end
    for _, name in ipairs { "events.raftlog", names[2] } do refused("chmod 000 " .. name, "io", name) end
  end)

  it("other files lie about is a good one, and keeps them", function()
    local path = workspace.path()
    workspace.run(("cp -r %s/db %s && cd %s && echo x >notes.txt && cp %s backup-of-events.raftlog && mkdir old && "
      .. "cp %s old/ && cp %s removed-1-0.raftlog"):format(original, path, path, names[1], names[1], names[1]))
    local before = listing(path)
    local db = assert(tidemark.open(path, { read_only = true }))
    assert.equal(400, #db:collection "c")
    assert(db:close())
    assert.equal(before, listing(path))
    db = assert(tidemark.open(path))
    assert.equal(400, #db:collection "c")
    assert(db:close())
    assert.equal(before, listing(path))
  end)
end)
