local tidemark = require "tidemark"
local cjson = require "cjson"
local workspace = require "spec.support.workspace"

describe("snapshots", function()
  local path
  before_each(function() path = workspace.path() end)
  after_each(workspace.clean)

  -- 300 documents of which each third is replaced and each tenth deleted; returns the path of a closed database.
  local function fill(options)
    local db <close> = assert(tidemark.open(path, options))
    local c = db:collection "articles"
    for i = 1, 300 do assert(c:create { id = tostring(i), n = i, pad = ("x"):rep(1000) }) end
    for i = 3, 300, 3 do assert(c:update(tostring(i), { n = -i })) end
    for i = 10, 300, 10 do assert(c:delete(tostring(i))) end
  end

  local function state(db)
    local documents = {}
    for id, document, version in db:collection "articles":each() do documents[id] = { document, version } end
    return documents
  end

  local function files()
    local names = {}
    for name in workspace.run("ls " .. path):gmatch "%S+%.tidesnap" do names[#names + 1] = name end
    return names
  end

  it("are what opening begins with, and amount to what the log does", function()
    fill()
    local db = assert(tidemark.open(path))
    local before = state(db)
    local seq = assert(db:snapshot())
    assert.equal(430, seq)
    assert.equal(430, db:stats().snapshot_seq)
    assert.equal(270, db:stats().snapshot_documents)
    assert.equal(1, db:stats().snapshots)
    assert(db:collection "articles":put { id = "new" })
    db:close()
    db = assert(tidemark.open(path))
    assert.equal(430, db:stats().recovered_snapshot_seq)
    assert.equal(1, db:stats().recovered_events)
    local document, version = db:collection "articles":get "new"
    before.new = { document, version }
    assert.same(before, state(db))
    local history = {}
    for event in db:events { collection = "articles", id = "3" } do history[#history + 1] = event.seq end
    assert.same({ 3, 301 }, history)
    db:close()
    assert(os.execute("rm " .. path .. "/*.tidesnap"))
    db = assert(tidemark.open(path))
    assert.equal(431, db:stats().recovered_events)
    assert.same(before, state(db))
    db:close()
  end)

  it("are refused by a database that is open for reading, and by a closed one", function()
    fill()
    local db = assert(tidemark.open(path, { read_only = true }))
    local seq, message, code = db:snapshot()
    assert.is_nil(seq)
    assert.matches("reading", message)
    assert.equal("read_only", code)
    db:close()
    assert.has_error(function() db:snapshot() end)
    assert.same({}, files())
  end)

  it("are made as the log grows, unless told not to", function()
    fill { snapshot_log_bytes = 0 }
    local db <close> = assert(tidemark.open(path, { snapshot_log_bytes = 1 << 20 }))
    local c = db:collection "articles"
    for i = 1, 1000 do assert(c:put { id = tostring(i % 50), pad = ("y"):rep(2000) }) end
    assert(db:flush())
    for _ = 1, 500 do
      if db:stats().snapshots > 0 then break end
      os.execute "sleep 0.02"
    end
    assert.is_true(db:stats().snapshots > 0)
  end)

  it("of the command: made, listed, checked", function()
    fill()
    local out, err, status = workspace.command("snapshot " .. path .. " --json")
    assert.equal(0, status, err)
    local made = cjson.decode(out)
    assert.equal(430, made.seq)
    assert.equal(270, made.documents)
    assert.is_true(made.bytes > 270000 and made.seconds > 0)
    out, err, status = workspace.command("snapshot " .. path)
    assert.equal(0, status, err)
    assert.matches("^snapshot of seq 430: 270 documents, %d+ bytes, in [%d.]+ s\n$", out)
    local name = files()[1]
    assert.same({ "snapshot-00000000000000000430.tidesnap" }, files())
    assert.matches("snapshot " .. name:gsub("%p", "%%%0") .. ": 270 documents", (workspace.command("info " .. path)))
    local told = cjson.decode((workspace.command("info " .. path .. " --json"))).snapshots
    assert.equal(430, told[1].seq)
    assert.equal(cjson.null, told[1].fault)
    assert.equal(0, select(3, workspace.command("verify " .. path)))
  end)

  it("that are unfit are told by verify and info, and passed over by opening", function()
    fill()
    workspace.command("snapshot " .. path)
    local name = files()[1]
    local bytes = workspace.read(path .. "/" .. name)
    local function put(text) workspace.write(path .. "/" .. name, text) end
    local function unfit(message)
      local out, _, status = workspace.command("verify " .. path)
      assert.equal(1, status)
      assert.truthy(out:find("snapshot: " .. name .. ": " .. name .. ": " .. message, 1, true), out)
      local db <close> = assert(tidemark.open(path, { read_only = true }))
      assert.equal(1, db:stats().snapshots_bad)
      assert.equal(270, db:stats().documents)
    end
    put(bytes:sub(1, 1000) .. string.char(bytes:byte(1001) ~ 1) .. bytes:sub(1002))
    unfit "damaged at offset 128"
    put(bytes:sub(1, -2))
    unfit "its end is missing or damaged"
    assert.matches("its end is missing", (workspace.command("info " .. path)))
    put ""
    unfit "too short for a snapshot"
    put(bytes:sub(1, 8) .. "\9" .. bytes:sub(10))
    unfit "of another format version"
    local out = workspace.command("verify " .. path .. " --json")
    local finding = cjson.decode(out:match "^[^\n]+")
    assert.equal("snapshot", finding.kind)
    assert.equal(430, finding.first_seq)
  end)

  it("need a directory", function()
    assert.equal(2, select(3, workspace.command "snapshot"))
    local _, err, status = workspace.command "snapshot /nonexistent"
    assert.equal(3, status)
    assert.matches("^tidemark: /nonexistent", err)
  end)
end)
