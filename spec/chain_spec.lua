local tidemark = require "tidemark"
local cjson = require "cjson"
local server = require "spec.support.server"
local workspace = require "spec.support.workspace"

-- Evidence against tampering, as scripts and the command show it. What a tampered frame may look like is tried in
-- spec/engine/chain_spec.c.
describe("hash_chain", function()
  local path
  before_each(function() path = workspace.path() end)
  after_each(server.clean)
  after_each(workspace.clean)

  local function expect(status, arguments)
    local out, err, found = workspace.command(arguments)
    assert.equal(status, found, out .. err)
    return out, err
  end

  -- Documents x1 to xn, each made durable: a frame of its own. Returns the hash and the seq as of the last.
  local function fill(from, to, options)
    local db <close> = assert(tidemark.open(path, options))
    for i = from, to do
      assert(db:collection "c":create({ id = "x" .. i, secret = "paid 100 to Ada" }, { durability = "durable" }))
    end
    return db:chain_head()
  end

  local function crc32c(bytes)
    local crc = 0xFFFFFFFF
    for i = 1, #bytes do
      crc = crc ~ bytes:byte(i)
      for _ = 1, 8 do crc = crc >> 1 ~ ((crc & 1) * 0x82F63B78) end
    end
    return crc ~ 0xFFFFFFFF
  end

  -- Changes the n-th of the texts in the log, and the checksum of its frame with it.
  local function tamper(n, from, to)
    local name = path .. "/events.raftlog"
    local log, at = workspace.read(name), 1
    for _ = 1, n do at = assert(log:find(from, at, true)) + 1 end
    log = log:sub(1, at - 2) .. to .. log:sub(at - 1 + #from)
    local start = 65
    while start + string.unpack("<I4", log, start + 8) <= at do start = start + string.unpack("<I4", log, start + 8) end
    local frame = log:sub(start, start + string.unpack("<I4", log, start + 8) - 1)
    frame = frame:sub(1, 4) .. string.pack("<I4", crc32c(frame:sub(9))) .. frame:sub(9)
    workspace.write(name, log:sub(1, start - 1) .. frame .. log:sub(start + #frame))
  end

  it("names the first seq that was changed, which no checksum tells", function()
    local head, seq = fill(1, 9, { hash_chain = true })
    assert.equal(9, seq)
    assert.matches("^%x+$", head)
    assert.equal(64, #head)
    assert.matches("\nchain: whole from seq 1 to 9, head %x+\n$", (expect(0, "verify --chain " .. path)))
    assert.matches("\nhead: from seq 1 to 9 the history is the one that the hash was taken of\n$",
      (expect(0, "verify " .. path .. " --head " .. head:upper())))
    tamper(5, "to Ada", "to Bob")
    do
      local db <close> = assert(tidemark.open(path))
      assert.equal("paid 100 to Bob", db:collection "c":get "x5".secret)
    end
    assert.matches("^whole: 9 events", (expect(0, "verify " .. path)))
    local out = expect(1, "verify --chain " .. path)
    assert.matches("^chain: events%.raftlog: offset %d+: the hash does not fit[^\n]* %(seq 5%)\nwhole: 9 events", out)
    assert.matches("\nchain: seq 5 is the first that does not fit; breaks: 1\n$", out)
    assert.matches("\nhead: no frame", (expect(1, "verify " .. path .. " --head " .. head)))
    local summary = cjson.decode((expect(1, "verify --json " .. path .. " --head " .. head)):match "([^\n]*)\n$")
    assert.equal(5, summary.chain.broken_seq)
    assert.equal(1, summary.chain.breaks)
    assert.equal(cjson.null, summary.chain.vouched_seq)
    assert.is_false(summary.whole)
    assert.equal(0, summary.damages)
  end)

  it("goes on over openings without the option, and says what a hash vouches for", function()
    assert.is_nil((fill(1, 3)))
    assert.matches("\nno chain: ", (expect(1, "verify --chain " .. path)))
    assert.equal('null', (expect(1, "verify --chain --json " .. path)):match '"chain":(%w+)')
    local middle = fill(4, 6, { hash_chain = true })
    local last = fill(7, 8)
    assert.not_equal(middle, last)
    assert.matches("\nhead: from seq 4 to 6 ", (expect(0, "verify " .. path .. " --head " .. middle)))
    local summary = cjson.decode((expect(0, "verify --json " .. path .. " --head " .. last)))
    assert.same({ first_seq = 4, seq = 8, breaks = 0, vouched_seq = 8, head = summary.chain.head }, summary.chain)
    local info = cjson.decode((expect(0, "info --json " .. path)))
    assert.same({ 4, 8, summary.chain.head }, { info.chain_first_seq, info.chain_seq, info.chain_head })
    assert.matches("\nchain head +" .. summary.chain.head .. "\n", (expect(0, "info " .. path)))
    local reader <close> = assert(tidemark.open(path, { read_only = true }))
    assert.same({ summary.chain.head, 8 }, { reader:chain_head() })
  end)

  it("contradicted is refused", function()
    do
      local db <close> = assert(tidemark.open(path, { hash_chain = false }))
      assert.is_nil((db:chain_head()))
      local again, message, code = tidemark.open(path, { hash_chain = true })
      assert.is_nil(again)
      assert.equal("invalid", code)
      assert.matches("hash_chain", message)
    end
    fill(1, 1, { hash_chain = true })
    local db, message, code = tidemark.open(path, { hash_chain = false })
    assert.is_nil(db)
    assert.equal("invalid", code)
    assert.matches("hash_chain", message)
    assert.has_error(function() tidemark.open(path, { hash_chain = 1 }) end)
  end)

  it("holds in a backup and in what is restored whole; a part of it has a chain of its own", function()
    local head = fill(1, 4, { hash_chain = true })
    local backup, whole, part = workspace.path(), workspace.path(), workspace.path()
    expect(0, ("snapshot %s"):format(path))
    expect(0, ("backup %s %s"):format(path, backup))
    local later = fill(5, 6)
    expect(0, ("restore %s %s"):format(backup, whole))
    expect(0, ("restore %s %s --to-seq 3"):format(backup, part))
    for _, copy in ipairs { backup, whole } do
      assert.matches("\nhead: from seq 1 to 4 ", (expect(0, "verify " .. copy .. " --head " .. head)))
      assert.matches("\nhead: no frame ", (expect(1, "verify " .. copy .. " --head " .. later)))
    end
    assert.matches("\nchain: whole from seq 1 to 3, ", (expect(0, "verify --chain " .. part)))
    assert.matches("\nhead: no frame ", (expect(1, "verify " .. part .. " --head " .. head)))
    assert.matches("\nhead: from seq 1 to 6 ", (expect(0, "verify " .. path .. " --head " .. later)))
  end)

  it("is an option of the server", function()
    local script = workspace.path():match "(.*)/" .. "/app.lua"
    workspace.write(script, "local app, db = ... app:resource('/c', db:collection 'c')")
    local app = server.start(script, path, "--hash-chain")
    assert.equal(201, (app:request("POST", "/c", '{"id":"a"}')))
    assert.equal(0, app:stop())
    assert.matches("\nchain: whole from seq 1 to 1,", (expect(0, "verify --chain " .. path)))
  end)

  it("refuses what is no hash", function()
    fill(1, 1, { hash_chain = true })
    for _, head in ipairs { "abc", ("x"):rep(64), ("a"):rep(63) } do
      local _, err = expect(2, "verify " .. path .. " --head " .. head)
      assert.matches("64 hexadecimal digits", err)
    end
  end)
end)
