local server = require "spec.support.server"
local tester = require "spec.support.load_tester"
local workspace = require "spec.support.workspace"

describe("the pages", function()
  after_each(server.clean)

  it("docs/api.md: its examples run", function()
    local blocks = { "local path = ...\n" }
    for block in workspace.read("docs/api.md"):gmatch "```lua\n(.-)```" do blocks[#blocks + 1] = block end
    assert.is_true(#blocks >= 10)
    -- Each block may name its locals anew; they are the next blocks' too.
    local chunk = assert(load(table.concat(blocks), "=docs/api.md"))
    chunk(workspace.path())
  end)

  -- The headers of an answer that begins with them, in alphabetical order: with middleware they have none of their own.
  local function sorted(text)
    local status, fields, rest = (text .. "\n"):match "^(HTTP/[^\n]*\n)(.-\n)(\n.*)$"
    if not status then return text end
    local lines = {}
    for line in fields:gmatch "[^\n]*\n" do lines[#lines + 1] = line end
    table.sort(lines)
    return status .. table.concat(lines) .. rest
  end

  -- The Lua blocks are one application; of the console blocks each line that begins with $ is run, and prints what
  -- follows it. An ellipsis stands for anything.
  it("docs/server.md: its examples are answered so", function()
    local page = workspace.read "docs/server.md"
    local script, blocks, commands = workspace.path():match "(.*)/" .. "/app.lua", {}, 0
    for block in page:gmatch "```lua\n(.-)```" do blocks[#blocks + 1] = block end
    workspace.write(script, table.concat(blocks))
    local app = server.start(script, workspace.path())
    for block in page:gmatch "```console\n(.-)```" do
      for part in ("\n" .. block):gsub("\n%$ ", "\0"):gmatch "%z([^%z]*)" do
        local command, expected = part:match "^([^\n]+)\n?(.*)$"
        commands = commands + 1
        local out, err, status = workspace.run(("URL=%s; %s"):format(app.url, (command:gsub("curl ", "curl -sS "))))
        assert.equal(0, status, command .. "\n" .. err)
        local parts = {}
        for literal in (sorted(expected):gsub("%s+$", "") .. "…"):gmatch "(.-)…" do
          parts[#parts + 1] = literal:gsub("%p", "%%%0")
        end
        assert.matches("^" .. table.concat(parts, ".*") .. "$", (sorted((out:gsub("\r", ""))):gsub("%s+$", "")), command)
      end
    end
    assert.is_true(commands >= 20)
    assert.equal(0, app:stop())
  end)

  it("docs/server.md: names the limits of `tidemark serve`, and every metric", function()
    local page = workspace.read "docs/server.md"
    local named = 0
    for option in workspace.command "serve --help":gmatch "%-%-[%w-]+" do
      if option:find "max$" or option:find "timeout" or option == "--token" then
        named = named + 1
        assert.truthy(page:find(option, 1, true), option)
      end
    end
    assert.is_true(named > 8)
    local script = workspace.path():match "(.*)/" .. "/app.lua"
    workspace.write(script, "")
    local app = server.start(script, workspace.path())
    local _, metrics = app:request("GET", "/metrics")
    for metric in metrics:gmatch "# TYPE (%S+)" do assert.truthy(page:find("`" .. metric .. "`", 1, true), metric) end
    for metric in page:gmatch "`(tidemark_[%w_]+)`" do
      assert.truthy(metrics:find("# TYPE " .. metric .. " ", 1, true), metric)
    end
  end)

  describe("docs/load.md", function()
    local page = workspace.read "docs/load.md"
    before_each(tester.open)
    after_each(tester.close)

    it("each of its scripts runs", function()
      local count = 0
      for script in page:gmatch "```lua\n(.-)```" do
        count = count + 1
        local figures
        if script:find("function operation", 1, true) then
          figures = tester.expect_engine(0, script, "--requests 50")
        else
          figures = tester.expect(0, script, "--requests 50 --connections 5", "/echo")
        end
        assert.equal(50, figures.requests)
        assert.equal(0, figures.errors)
      end
      assert.is_true(count >= 8)
    end)

    it("its tables have every option, hook, figure and exit status, and no other", function()
      local function first_column(heading)
        local section = assert(page:match("\n## " .. heading .. "\n(.-)\n## "), heading)
        local names = {}
        for row in section:gmatch "\n| ([^|]+) |" do
          for name in row:gmatch "`([^`]+)`" do names[#names + 1] = name:match "^[%w_-]+" end
        end
        table.sort(names)
        return table.concat(names, " ")
      end
      local options, usage = { "--engine", "--url" }, workspace.command "load --help"
      for option in usage:gmatch "\n  (%-%-%w+) " do options[#options + 1] = option end
      table.sort(options)
      assert.equal(table.concat(options, " "), first_column "Options")
      local names, figures = {}, tester.expect(0, "", "--requests 1")
      for name in pairs(figures) do names[#names + 1] = name end
      table.sort(names)
      assert.equal(table.concat(names, " "), first_column "The JSON text")
      assert.equal("delay done init request response setup", first_column "The hooks")
      assert.equal("0 1 2 3", first_column "Exit status")
    end)
  end)

  it("README.md: its example runs", function()
    local source = workspace.read "README.md":match "```lua\n(.-)```":gsub("data/blog", workspace.path())
    assert(load(source, "=README.md", "t", setmetatable({ print = function() end }, { __index = _G })))()
  end)

  it("README.md and CONTRIBUTING.md name targets and files that exist", function()
    local makefile = workspace.read "Makefile"
    local named = 0
    for _, page in ipairs { "README.md", "CONTRIBUTING.md", "ARCHITECTURE.md" } do
      local text = workspace.read(page)
      for target in text:gmatch "`make ([%w-]+)`" do
        named = named + 1
        assert.truthy(makefile:find("\n" .. target .. ":", 1, true), page .. " names make " .. target)
      end
      for file in text:gmatch "`((%w+)/[%w_./]+%.%w+)`" do
        if not file:find "^build/" then
          named = named + 1
          assert.truthy(io.open(file), page .. " names " .. file)
        end
      end
    end
    assert.is_true(named > 8)
  end)

  it("docs/format.md: the dump is that of a real file", function()
    local out, err, status = workspace.run(workspace.build .. "/tidemark run scripts/format-dump.lua")
    assert.equal(0, status, err)
    local dump = workspace.read "docs/format.md":match "```hex\n(.-)```"
    assert.equal(dump, out)
  end)

  it("bindings/tidemark.meta.lua: every name in it exists, and none is missing", function()
    local tidemark = require "tidemark"
    local db <close> = assert(tidemark.open(workspace.path()))
    local objects = { tidemark = tidemark, database = db, collection = db:collection "c" }
    local seen = {}
    for object, name in workspace.read "bindings/tidemark.meta.lua":gmatch "function (%w+)[.:]([%w_]+)%(" do
      assert.is_function(objects[object][name], object .. "." .. name)
      seen[name] = true
    end
    for name in pairs(tidemark) do
      if type(tidemark[name]) == "function" then assert.is_true(seen[name], name .. " is not in it") end
    end
    for name in ("create put update delete get get_json get_many has count each close flush wait watermarks events stats backup "
      .. "collection"):gmatch "%S+" do
      assert.is_true(seen[name], name .. " is not in it")
    end
  end)
end)
