local tidemark = require "tidemark"
local workspace = require "spec.support.workspace"

-- What a script sees of a slow and of a full disk (spec/support/slow_disk.c, preloaded into its process).
describe("on a bad disk", function()
  after_each(workspace.clean)

  local preload = os.getenv "TIDEMARK_PRELOAD"

  local function run(settings, source, path)
    local file = os.tmpname()
    workspace.write(file, source)
    local out, err, status = workspace.run(("LD_PRELOAD='%s %s/spec/slow_disk.so' LUA_CPATH_5_4='%s/?.so;;' %s lua5.4 %s %s")
      :format(preload or "", workspace.build, workspace.build, settings, file, path))
    os.remove(file)
    assert.equal(0, status, err)
    return out
  end

  it("a full channel makes writers wait, and with a timeout gives busy", function()
    local path = workspace.path()
    local out = run("SLOW_DISK_MS=400", [[
      local tidemark = require "tidemark"
      local db = assert(tidemark.open(arg[1], { pending_bytes_max = 65536 }))
      local c, accepted, busy = db:collection "c", 0, 0
      for i = 1, 400 do
        local id, message, code = c:create({ id = "x" .. i, pad = ("p"):rep(1000) }, { timeout_ms = i > 300 and 60000 or 1 })
        if id then accepted = accepted + 1 else
          assert(code == "busy", message)
          busy = busy + 1
          if busy > 5 then break end
        end
      end
      for i = 1, 100 do -- without a timeout it waits
        assert(c:create { id = "y" .. i, pad = ("p"):rep(1000) })
        accepted = accepted + 1
      end
      assert(db:close())
      print(busy > 0, accepted)]], path)
    local accepted = tonumber(out:match "^true\t(%d+)\n$")
    assert.is_number(accepted, out)
    local db <close> = assert(tidemark.open(path))
    assert.equal(accepted, #db:collection "c")
  end)

  it("a durable wait that times out leaves the write accepted, and says its version", function()
    local path = workspace.path()
    local out = run("SLOW_DISK_MS=400", [[
      local tidemark = require "tidemark"
      local db = assert(tidemark.open(arg[1]))
      local c = db:collection "c"
      local id, message, code, version = c:create({ id = "x" }, { durability = "durable", timeout_ms = 20 })
      print(id, #message > 0, code, version, c:has "x")
      print(select(3, db:flush(1)))
      print(select(3, db:wait(1, "durable", 1)))
      print(db:wait(1))]], path)
    assert.equal("nil\ttrue\ttimeout\t1\ttrue\ntimeout\ntimeout\ntrue\n", out)
  end)

  it("the first write that fails gives full, later ones and flush failed; reads go on", function()
    local path = workspace.path()
    local out = run("SLOW_DISK_BYTES=10000", [[
      local tidemark = require "tidemark"
      local db = assert(tidemark.open(arg[1]))
      local c = db:collection "c"
      assert(c:create({ id = "safe" }, { durability = "durable" }))
      local codes = {}
      for i = 1, 3 do
        local _, message, code = c:create({ id = "x" .. i, pad = ("p"):rep(20000) }, { durability = "durable" })
        codes[i] = code
        assert(#message > 10)
      end
      print(table.concat(codes, " "), select(3, db:flush()), c:has "safe", c:get "safe".id)
      print(select(3, db:close()))
      print(pcall(c.get, c, "safe"))]], path)
    assert.matches("^full failed failed\tfailed\ttrue\tsafe\nfailed\nfalse\t", out)
    local db <close> = assert(tidemark.open(path))
    assert.equal(1, #db:collection "c")
    assert.is_true(db:collection "c":has "safe")
  end)

  it("a file too large for the process gives io", function()
    local path = workspace.path()
    local file = os.tmpname()
    workspace.write(file, [[
      local db = assert(require "tidemark".open(arg[1], { segment_bytes = 1 << 20, batch_size = 10 }))
      local code
      for i = 1, 100 do
        local _, _, found = db:collection "c":create({ pad = ("p"):rep(100000) }, { durability = "durable" })
        code = found
        if code then break end
      end
      print(code, (select(3, db:flush())))]])
    local out = workspace.run(("trap '' XFSZ; ulimit -f 600; %s lua5.4 %s %s"):format(workspace.lua_environment, file, path))
    os.remove(file)
    assert.equal("io\tfailed\n", out)
  end)
end)
