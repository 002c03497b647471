local workspace = require "spec.support.workspace"

describe("the pages", function()
  after_each(workspace.clean)

  it("docs/api.md: its examples run", function()
    local blocks = { "local path = ...\n" }
    for block in workspace.read("docs/api.md"):gmatch "```lua\n(.-)```" do blocks[#blocks + 1] = block end
    assert.is_true(#blocks >= 10)
    -- Each block may name its locals anew; they are the next blocks' too.
    local chunk = assert(load(table.concat(blocks), "=docs/api.md"))
    chunk(workspace.path())
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
    for name in ("create put update delete get get_json get_many has count each close flush wait watermarks events stats "
      .. "collection"):gmatch "%S+" do
      assert.is_true(seen[name], name .. " is not in it")
    end
  end)
end)
