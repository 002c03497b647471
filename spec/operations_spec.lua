local server = require "spec.support.server"
local tidemark = require "tidemark"
local workspace = require "spec.support.workspace"

-- The Lua blocks are files, named in their first line. Of the console blocks each line that begins with $ is run, in one
-- directory, and prints what follows it. An ellipsis stands for anything.
describe("docs/operations.md", function()
  local page = workspace.read "docs/operations.md"
  after_each(server.clean)

  it("its walk-through goes so", function()
    local directory, commands = workspace.path():match "(.*)/", 0
    for name, script in page:gmatch "```lua\n%-%- ([%w.]+)(.-)```" do
      workspace.write(directory .. "/" .. name, "--" .. script)
    end
    local build = workspace.run("realpath " .. workspace.build):gsub("%s+$", "")
    for block in page:gmatch "```console\n(.-)```" do
      for part in ("\n" .. block):gsub("\n%$ ", "\0"):gmatch "%z([^%z]*)" do
        local command, expected = part:match "^([^\n]+)\n?(.*)$"
        commands = commands + 1
        local out = workspace.run(("cd %s && PATH=%s:$PATH && { %s; } 2>&1"):format(directory, build, command))
        local parts = {}
        for literal in (expected:gsub("%s+$", "") .. "…"):gmatch "(.-)…" do parts[#parts + 1] = literal:gsub("%p", "%%%0") end
        assert.matches("^" .. table.concat(parts, ".*") .. "$", (out:gsub("%s+$", "")), command)
      end
    end
    assert.is_true(commands >= 22)
  end)

  it("names figures, metrics, options and commands that there are", function()
    local script = workspace.path():match "(.*)/" .. "/app.lua"
    workspace.write(script, "")
    local app = server.start(script, workspace.path())
    local _, metrics = app:request("GET", "/metrics")
    assert.equal(0, app:stop())
    local db <close> = assert(tidemark.open(workspace.path()))
    local figures, named = db:stats(), 0
    for row in page:match "\n## What to watch\n(.-)\n## ":gmatch "\n| (`[^\n]+)" do
      for figure in row:match "^(.-)|":gmatch "`([%w_]+)`" do
        named = named + 1
        assert.is_number(figures[figure], figure)
      end
    end
    for metric in page:gmatch "`(tidemark_[%w_]+)`" do
      named = named + 1
      assert.truthy(metrics:find("# TYPE " .. metric .. " ", 1, true), metric)
    end
    for command in page:gmatch "tidemark (%l+)" do
      if command ~= "run" then
        assert.equal(0, (select(3, workspace.command("help " .. command))), command)
      end
    end
    local headings = {}
    for heading in page:gmatch "\n## ([^\n]+)" do headings[heading:lower():gsub(" ", "-")] = true end
    for link in page:gmatch "%]%(#([%w-]+)%)" do assert.is_true(headings[link], link) end
    assert.is_true(named >= 18)
  end)
end)
