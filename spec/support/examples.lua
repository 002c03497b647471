-- examples.lua: which examples there are. A server's application is told by its first line of code, which takes what
-- the server gives it; everything else is a program that `tidemark run` runs to its end.
local workspace = require "spec.support.workspace"

local examples = { programs = {}, applications = {}, loads = {} }

for name in workspace.run("ls examples"):gmatch "([%w_]+)%.lua\n" do
  local code = ("\n" .. workspace.read("examples/" .. name .. ".lua")):gsub("\n%-%-[^\n]*", "")
  local kind = code:match "^%s*local app, db = %.%.%.\n" and "applications" or "programs"
  table.insert(examples[kind], name)
end

for name in workspace.run("ls examples/load"):gmatch "([%w_]+)%.lua\n" do table.insert(examples.loads, name) end

return examples
