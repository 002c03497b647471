local help = {
  usage = [[
usage: tidemark help [COMMAND]
]],
}

function help.text(common)
  local lines = { "usage: tidemark COMMAND [ARGUMENTS]\n" }
  for _, name in ipairs(common.order) do lines[#lines + 1] = ("  %-9s %s"):format(name, common.commands[name]) end
  lines[#lines + 1] = [[

examples:
  tidemark run script.lua                      a script that says require "tidemark"
  tidemark import data/blog articles a.jsonl   a document a line
  tidemark dump data/blog --json | head        the first events
  tidemark verify data/blog                    0: all is whole, 1: it isn't

exit status: 0 fine, 1 the answer is no, 2 wrong usage, 3 could not do it.
`tidemark help COMMAND` tells more.
]]
  return table.concat(lines, "\n")
end

function help.main(common, arguments)
  local name = arguments[1]
  if #arguments > 1 then common.fail(2, "one command at a time\n%s", help.usage) end
  if name and not common.commands[name] then common.fail(2, "unknown command %s; see tidemark help", name) end
  common.write(name and require("tidemark.commands." .. name).usage or help.text(common))
  return 0
end

return help
