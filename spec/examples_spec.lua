local examples = require "spec.support.examples"
local workspace = require "spec.support.workspace"

-- Every program in examples/ runs, and prints what it says it does. Applications: spec/server_examples_spec.lua.
describe("the examples", function()
  after_each(workspace.clean)

  local expected = {
    first_steps = { "created\t36\tversion\t", "title\tHello, world\ttags\tnil\tauthor\tAda", "has about\ttrue",
      "articles/about", "exists", "found\tabout\tAbout us", "left\t0" },
    optimistic_locking = { "balance\t70", "conflict", "balance\t50", "only if absent\tconflict" },
    durability = { "level\ttrue", "durable\ttrue", "waited\ttrue", "flushed\ttrue", "syncs\ttrue" },
    threads = { "points\t20000", "3.1\ttrue", "nil\tsomething broke\tscript" },
    history = { "created\thome\tone", "updated\thome\ttwo", "deleted\thome\tnil", "home was\tone, two, deleted",
      "then home said\ttwo" },
  }

  it("are all there", function()
    assert.is_true(#examples.programs >= 5)
    for name in pairs(expected) do assert.truthy(io.open("examples/" .. name .. ".lua")) end
  end)

  for _, name in ipairs(examples.programs) do
    it("run: " .. name, function()
      assert.is_table(expected[name], "no expectation for examples/" .. name .. ".lua")
      local path = workspace.path()
      for _ = 1, 2 do -- again on what the first run left
        local out, err, status = workspace.command(("run examples/%s.lua %s"):format(name, path))
        assert.equal(0, status, err)
        for _, text in ipairs(expected[name]) do assert.truthy(out:find(text, 1, true), text .. " not in " .. out) end
      end
      assert.is_true(#workspace.read("examples/" .. name .. ".lua") < 2500)
    end)
  end
end)
