local tidemark = require "tidemark"
local cjson = require "cjson"
local workspace = require "spec.support.workspace"

describe("the command", function()
  local path
  before_each(function() path = workspace.path() end)
  after_each(workspace.clean)

  local function expect(status, arguments)
    local out, err, found = workspace.command(arguments)
    assert.equal(status, found, out .. err)
    if status >= 2 then assert.matches("^tidemark: ", err) end
    return out, err
  end

  local function fill()
    local db <close> = assert(tidemark.open(path))
    local c = db:collection "articles"
    assert(c:create { id = "a\"b", title = "Hello" })
    assert(c:update("a\"b", { title = "Hallo" }))
    assert(c:create { id = "c" })
    assert(c:delete "c")
    assert(db:collection "other":create { id = "x" })
  end

  it("helps, with examples", function()
    assert.matches("examples:", (expect(0, "help")))
    assert.equal((expect(0, "help")), (expect(0, "--help")))
    local names = "run load import export verify dump info repair compact snapshot backup restore bench version help"
    for name in names:gmatch "%S+" do
      assert.matches("^usage: tidemark " .. name, (expect(0, "help " .. name)))
      assert.equal((expect(0, "help " .. name)), (expect(0, name .. " --help")))
      assert.truthy((expect(0, "help")):find("\n  " .. name, 1, true))
    end
    assert.equal("tidemark 0.1.0\n", (expect(0, "version")))
    assert.equal("tidemark 0.1.0\n", (expect(0, "--version")))
  end)

  it("refuses wrong usage with 2", function()
    local _, err, status = workspace.command ""
    assert.equal(2, status)
    assert.matches("usage:", err)
    for _, arguments in ipairs { "frobnicate", "help frobnicate", "dump", "verify", "dump x --form 1", "dump x --from y",
      "dump x --from", "import " .. path, "import " .. path .. " a/b", "verify a b", "run", "version --json" } do
      expect(2, arguments)
    end
    fill()
    expect(2, "dump " .. path .. " --id x")
  end)

  it("says what it could not do with 3", function()
    for _, arguments in ipairs { "dump /nonexistent", "verify /nonexistent", "info /nonexistent", "repair /nonexistent",
      "export /nonexistent c", "run /nonexistent.lua", "import " .. path .. " c /nonexistent.jsonl" } do
      local _, err = expect(3, arguments)
      assert.matches("/nonexistent", err)
    end
  end)

  it("runs scripts, with their arguments", function()
    local script = os.tmpname()
    workspace.write(script, [[
      local tidemark = require "tidemark"
      local db <close> = assert(tidemark.open(arg[1]))
      print(arg[0] ~= nil, #arg, select("#", ...), (db:collection "c":create { id = "x" }))]])
    assert.equal("true\t2\t2\tx\n", (expect(0, ("run %s %s two"):format(script, path))))
    workspace.write(script, "error 'oops'")
    local _, err = expect(3, "run " .. script)
    assert.matches("oops", err)
    assert.matches("traceback", err)
    workspace.write(script, "local = ")
    expect(3, "run " .. script)
    workspace.write(script, "os.exit(7, true)")
    local _, _, status = workspace.command("run " .. script)
    assert.equal(7, status)
    os.remove(script)
  end)

  it("dumps events, a line each", function()
    fill()
    local out = expect(0, "dump " .. path)
    assert.equal(5, select(2, out:gsub("\n", "\n")))
    assert.matches("^1\t%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%d%d%d%dZ\tcreated\tarticles/a\"b\t{", out)
    local events = {}
    for line in expect(0, "dump " .. path .. " --json"):gmatch "[^\n]+" do events[#events + 1] = cjson.decode(line) end
    assert.equal(5, #events)
    assert.equal("a\"b", events[2].id)
    assert.equal("Hallo", events[2].document.title)
    assert.equal("deleted", events[4].type)
    assert.is_nil(events[4].document)
    assert.equal(2, select(2, expect(0, "dump --from=2 --to 3 " .. path):gsub("\n", "\n")))
    assert.equal(1, select(2, expect(0, "dump --collection other " .. path):gsub("\n", "\n")))
    assert.equal(2, select(2, expect(0, "dump --collection articles --id c " .. path):gsub("\n", "\n")))
  end)

  it("imports and exports lines", function()
    local file = os.tmpname()
    workspace.write(file, '{"id":"a","n":1}\n\n{"id":"b","n":12345678901234567890}\n{"n":3}')
    assert.equal("3 documents imported, 0 lines skipped\n", (expect(0, ("import %s c %s"):format(path, file))))
    local lines = {}
    for line in expect(0, "export " .. path .. " c"):gmatch "[^\n]+" do lines[#lines + 1] = line end
    table.sort(lines)
    assert.equal(3, #lines)
    assert.equal('{"id":"a","n":1}', lines[2])
    assert.equal('{"id":"b","n":12345678901234567890}', lines[3])
    workspace.write(file, '{"slug":"s","n":1}\nnonsense\n{"slug":7}\n{"slug":{}}\n')
    local out, err = expect(1, ("import %s d %s --id-field slug"):format(path, file))
    assert.equal("2 documents imported, 2 lines skipped\n", out)
    assert.matches("line 2:", err)
    assert.matches("line 4:", err)
    local _, strict = expect(1, ("import %s e --strict --id-field slug - < %s"):format(path, file))
    assert.matches("line 2:", strict)
    os.remove(file)
    local db <close> = assert(tidemark.open(path))
    assert.equal(1, db:collection "d":get "s".n)
    assert.is_true(db:collection "d":has "7")
    assert.equal(1, #db:collection "e")
  end)

  it("works beside a process that has the directory open", function()
    fill()
    local db <close> = assert(tidemark.open(path))
    for i = 1, 100 do assert(db:collection "articles":create { n = i }) end
    assert(db:flush())
    assert.equal(105, select(2, expect(0, "dump " .. path):gsub("\n", "\n")))
    assert.matches("^whole: 105 events", (expect(0, "verify " .. path)))
    assert.matches("in use +true", (expect(0, "info " .. path)))
    assert.equal(101, select(2, expect(0, "export " .. path .. " articles"):gsub("\n", "\n")))
    local _, err = expect(3, "repair " .. path)
    assert.matches("open in a process", err)
    expect(3, "import " .. path .. " c /dev/null")
  end)

  it("tells what a directory holds", function()
    fill()
    local out = expect(0, "info " .. path)
    assert.matches("events +5\n", out)
    assert.matches("collection articles: 1 documents", out)
    local info = cjson.decode((expect(0, "info --json " .. path)))
    assert.equal(5, info.last_seq)
    assert.equal(1, info.collections.other)
    assert.is_true(info.clean_close)
    local summary = cjson.decode((expect(0, "verify --json " .. path)))
    assert.is_true(summary.whole)
    assert.equal(5, summary.events)
    assert.equal("nothing to repair\n", (expect(0, "repair " .. path)))
  end)

  it("tells a torn tail, and repair cuts it", function()
    local db = assert(tidemark.open(path))
    for i = 1, 3 do
      assert(db:collection "c":create { id = "x" .. i })
      assert(db:flush())
    end
    local bytes = workspace.read(path .. "/events.raftlog"):sub(1, db:stats().log_bytes - 5)
    db:close()
    workspace.write(path .. "/events.raftlog", bytes)
    local out = expect(1, "verify " .. path)
    assert.matches("torn: events.raftlog: offset %d+: .* %(seq 3%)", out)
    expect(0, "repair " .. path)
    expect(0, "verify " .. path)
    assert.equal(2, select(2, expect(0, "dump " .. path):gsub("\n", "\n")))
  end)

  it("benches, in a directory that is gone afterwards", function()
    workspace.run("mkdir -p " .. path)
    local out = expect(0, "bench --documents 2000 --rounds 2 --directory " .. path)
    for _, name in ipairs { "create table", "create text", "get", "get json", "get many", "update", "open",
      "durable, together" } do
      assert.matches("\n" .. name .. " +%d+ +%d+ +%d+ +[%d.]+", out)
    end
    local report = cjson.decode((expect(0, "bench --documents 1000 --rounds 1 --only '^get$' --json --directory " .. path)))
    assert.equal(1, #report.lines)
    local line = report.lines[1]
    assert.is_true(line.low_per_second <= line.median_per_second and line.median_per_second <= line.high_per_second)
    assert.equal("", (workspace.run("ls " .. path)))
    for _, wrong in ipairs { "--documents 3", "--rounds 0", "--only nothing --documents 100 --rounds 1 --directory " .. path,
      "--only '%'", "--many" } do
      expect(2, "bench " .. wrong)
    end
    expect(3, "bench --documents 100 --rounds 1 --directory /proc/none")
  end)

  it("ends quietly when its reader goes away", function()
    do
      local db <close> = assert(tidemark.open(path))
      for _ = 1, 5000 do assert(db:collection "c":create { pad = ("p"):rep(100) }) end
    end
    local out, err = workspace.run(("%s/tidemark dump %s | head -n 1 | cut -f 1"):format(workspace.build, path))
    assert.equal("1\n", out)
    assert.equal("", err)
  end)
end)
